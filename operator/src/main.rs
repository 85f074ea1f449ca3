//! The operator process: reads the configuration, builds the adapters, runs. Nothing else.
#![forbid(unsafe_code)]

use std::io::{BufRead as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use operator::api::secret::SecretText;
use operator::cluster_api::kube::{KubeCluster, connect};
use operator::config::{Config, Register, TokenSource};
use operator::reconcile::cluster::enroll::{Enrollment, enroll};
use operator::runtime::clock::Clock;
use operator::runtime::entropy::Entropy;
use operator::runtime::{self, Parts, health};
use operator::telemetry::{JsonLines, Source, log_panics};
use operator::transport::reqwest as control_plane;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::prelude::*;

/// How long the process may take to end after its loops have: connections closing.
const FAREWELL: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == Register::NAME) {
        return register();
    }
    let config = match Config::from_args(std::env::args_os()) {
        Ok(config) => config,
        Err(answer) => {
            // Help and version go to stdout with success; a bad flag to stderr with 2. A closed pipe is not our problem.
            let _ = answer.print();
            return ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2));
        }
    };
    let clock = Clock::system();
    let lines = JsonLines::new(std::io::stderr(), clock.clone(), Source::default(), config.log_level);
    tracing_subscriber::registry().with(lines).init();
    log_panics();
    // One thread is enough for what is mostly waiting, and keeps resident memory low.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start: {error}")),
    };
    let result = runtime.block_on(serve(config, clock));
    runtime.shutdown_timeout(FAREWELL);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => failed(&why),
    }
}

async fn serve(config: Config, clock: Clock) -> Result<(), String> {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return Err("cannot listen for signals".into());
    };
    let shutdown = async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("ending: finishing what is running and giving leadership back");
    };
    let kube = connect::config().await.map_err(|error| error.to_string())?;
    let cluster = connect::service(&kube).map_err(|error| error.to_string())?;
    tokio::pin!(shutdown);
    tokio::select! {
        biased;
        () = &mut shutdown => return Ok(()),
        reached = connect::reach(&cluster, &kube) => reached.map_err(|error| error.to_string())?,
    }
    let probes = match config.probes {
        Some(address) => Some(health::listen(address).await.map_err(|error| error.to_string())?),
        None => None,
    };
    tracing::info!(cluster = %kube.cluster_url, identity = %config.identity, "started");
    let parts = Parts {
        cluster,
        control_plane: control_plane::Reqwest::default(),
        kube,
        clock,
        entropy: Entropy::system(),
        config,
        probes,
    };
    runtime::run(parts, shutdown).await.map_err(|error| error.to_string())
}

/// `vworkspace-app-operator register`: for people, so it speaks plain text.
fn register() -> ExitCode {
    let asked = match Register::from_args(std::env::args_os().skip(1)) {
        Ok(asked) => asked,
        Err(answer) => {
            let _ = answer.print();
            return ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2));
        }
    };
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))
        .and_then(|runtime| runtime.block_on(registered(asked)));
    match result {
        Ok(id) => {
            tell(&format!("connected, cluster id {id}"));
            ExitCode::SUCCESS
        }
        Err(why) => {
            tell(&format!("error: {why}"));
            ExitCode::FAILURE
        }
    }
}

async fn registered(asked: Register) -> Result<String, String> {
    let kube = connect::config().await.map_err(|error| error.to_string())?;
    let service = connect::service(&kube).map_err(|error| error.to_string())?;
    connect::reach(&service, &kube).await.map_err(|error| error.to_string())?;
    let api = KubeCluster::new(service, &kube).map_err(|error| error.to_string())?;
    let enrollment = Enrollment {
        token: token(asked.token)?,
        endpoint: asked.endpoint,
        name: asked.cluster,
        cluster_id: asked.cluster_id,
        namespace: asked.namespace,
    };
    enroll(&api, &enrollment, tell).await
}

/// The first line of where the token is.
fn token(source: TokenSource) -> Result<SecretText, String> {
    let mut line = String::new();
    let token = match source {
        TokenSource::Given(token) => token,
        TokenSource::Stdin => {
            std::io::stdin()
                .lock()
                .read_line(&mut line)
                .map_err(|error| format!("cannot read standard input: {error}"))?;
            SecretText::new(line.trim())
        }
        TokenSource::File(path) => {
            let text =
                std::fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            SecretText::new(text.lines().next().unwrap_or_default().trim())
        }
    };
    if token.is_empty() { Err("the registration token is empty".into()) } else { Ok(token) }
}

/// One line for the person at the terminal; one that is gone hears nothing.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The last line of the log says why.
fn failed(why: &str) -> ExitCode {
    tracing::error!("{why}");
    ExitCode::FAILURE
}
