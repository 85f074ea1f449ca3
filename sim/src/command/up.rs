//! `sim up`: the embedded cluster on a real port, for `kubectl`, `helm` and the operator's own binary, and the control plane
//! on another, with a console for browsers.
//!
//! The same server and the same fakes as in every run, on real time or a multiple of it. What happens is told as it
//! happens. Nothing here repeats: real clients come when they want.

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use fakes::history::Record;
use fakes::kinds;
use tokio::net::TcpListener;

use super::Exit;
use super::demo::{Told, shown};
use super::run::load;
use super::screen::{Screen, Tint};
use crate::case::Case;
use crate::narrator::tell;
use crate::trace::Detail;
use crate::wire::tcp;
use crate::world::clock::SimulatedTime;
use crate::world::{Plan, World};

/// How the cluster is served.
#[derive(Clone, Debug, clap::Args)]
pub struct UpArgs {
    /// Address of the API server; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8001")]
    listen: SocketAddr,
    /// Address of the control plane and its console; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8069")]
    odoo: SocketAddr,
    /// Simulated seconds per real second
    #[arg(long, default_value_t = 1)]
    speed: u32,
    /// Leave the operator to its own binary
    #[arg(long)]
    no_operator: bool,
    /// Take the definitions of Flux and others from the CRD files in this directory
    #[arg(long, value_name = "DIR")]
    crds: Option<PathBuf>,
    /// Carry out the steps of this scenario or case once everything is up
    #[arg(long, value_name = "FILE")]
    scenario: Option<String>,
    /// Write the kubeconfig here instead of a temporary file
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// A tick of the simulated clock when it is not the real one.
const TICK: Duration = Duration::from_millis(10);

/// Serves until Ctrl-C.
pub fn up(screen: Screen, args: &UpArgs) -> Exit {
    let case = match args.scenario.as_deref().map_or_else(|| Ok(Case::new("up", Vec::new())), load) {
        Ok(case) => case,
        Err(why) => {
            screen.complain(&why);
            return Exit::Usage;
        }
    };
    if args.speed == 0 {
        screen.complain("--speed must be at least 1");
        return Exit::Usage;
    }
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = match builder.enable_all().start_paused(args.speed > 1).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            screen.complain(&format!("no runtime: {error}"));
            return Exit::Usage;
        }
    };
    let outcome = runtime.block_on(async {
        tokio::select! {
            biased;
            () = interrupted() => Ok(()),
            outcome = serve(screen, args, case) => outcome,
            () = pace(args.speed) => Ok(()),
        }
    });
    // The pacer's thread ends at its next tick, when its channel is gone.
    runtime.shutdown_timeout(2 * TICK);
    match outcome {
        Ok(()) => {
            screen.line(&screen.tint("The cluster is gone.", Tint::Dim));
            Exit::Clean
        }
        Err(why) => {
            screen.complain(&why);
            Exit::Usage
        }
    }
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without signals the process ends the hard way.
        return std::future::pending().await;
    };
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Moves the paused clock: `speed` ticks of simulated time for each real one. A running blocking task keeps tokio from
/// jumping ahead by itself, which it would do whenever everybody waits for the network.
async fn pace(speed: u32) {
    if speed == 1 {
        return std::future::pending().await;
    }
    let (tick, mut ticks) = tokio::sync::mpsc::channel(1);
    #[expect(
        clippy::disallowed_methods,
        reason = "real time has to come from a real thread; nothing here repeats anyway"
    )]
    let clock = tokio::task::spawn_blocking(move || {
        while tick.blocking_send(()).is_ok() {
            std::thread::sleep(TICK);
        }
    });
    while ticks.recv().await.is_some() {
        tokio::time::advance(TICK * speed).await;
    }
    drop(clock);
}

async fn serve(screen: Screen, args: &UpArgs, case: Case) -> Result<(), String> {
    let (listener, address) = listen(args.listen, "Another cluster may be up; --listen takes another address").await?;
    let (odoo_listener, odoo) = listen(args.odoo, "Is this a real Odoo? --odoo takes another address").await?;
    // Nobody asks for a verdict here, and judging takes time with the square of the number of instances.
    let oracles = Vec::new();
    let mut plan =
        Plan { time: SimulatedTime::real(), latency_ms: (0, 0), detail: Detail::Hash, oracles, ..Plan::of(&case) };
    if let Some(directory) = &args.crds {
        plan.definitions =
            merged(plan.definitions, kinds::from_directory(directory).map_err(|error| error.to_string())?);
    }
    let (say, told) = mpsc::channel();
    plan.reader = Some(Box::new(move |record: &Record| {
        for line in tell(record) {
            let _ = say.send(Told::Event(line));
        }
    }));
    let teller = std::thread::Builder::new().name("teller".into()).spawn(move || {
        for line in told {
            screen.object(&line);
            screen.line(&shown(&screen, &line));
        }
    });
    teller.map_err(|error| format!("no thread to tell what happens: {error}"))?;
    let mut world = World::build(plan).await?;
    let kubeconfig = KubeConfig::write(args.kubeconfig.as_deref(), address)?;
    // A definition is served a little later than it is established.
    while world.client("user").get("/apis/ops.vworkspace.io/v1alpha1/clusters").await.0 != 200 {
        tokio::time::sleep(TICK).await;
    }
    world.register(&format!("http://{odoo}")).await?;
    if !args.no_operator {
        world.start_operator();
    }
    greet(screen, args, address, odoo, &kubeconfig.path);
    let front = world.front.clone();
    let odoo = tcp::serve_odoo(odoo_listener, world.control_plane.clone(), world.odoo.clone());
    let work = async {
        for step in &case.workload {
            if let Err(why) = world.carry_out(step).await {
                screen.complain(&format!("the scenario stops: {why}"));
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        served = tcp::serve(listener, front) => ended(served),
        served = odoo => ended(served),
        () = work => Ok(()),
    }
}

fn ended(served: std::io::Result<Infallible>) -> Result<(), String> {
    match served {
        Ok(never) => match never {},
        Err(error) => Err(format!("a listener failed: {error}")),
    }
}

async fn listen(wanted: SocketAddr, hint: &str) -> Result<(TcpListener, SocketAddr), String> {
    let failed = |error: std::io::Error| format!("cannot listen on {wanted}: {error}. {hint}");
    let listener = TcpListener::bind(wanted).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// The given definitions, in place of those of the same name.
fn merged(mut compact: Vec<serde_json::Value>, given: Vec<serde_json::Value>) -> Vec<serde_json::Value> {
    compact.retain(|definition| !given.iter().any(|other| kinds::name_of(other) == kinds::name_of(definition)));
    compact.extend(given);
    compact
}

fn greet(screen: Screen, args: &UpArgs, address: SocketAddr, odoo: SocketAddr, kubeconfig: &Path) {
    let kubeconfig = kubeconfig.display();
    let console = format!("http://{odoo}/");
    screen.object(&serde_json::json!({
        "address": address.to_string(), "odoo": console, "kubeconfig": kubeconfig.to_string()
    }));
    let operator =
        if args.no_operator { "none; start it with: cargo run --release -p operator" } else { "in this process" };
    let pace =
        if args.speed == 1 { "real time".to_owned() } else { format!("{} simulated seconds per second", args.speed) };
    screen.line("");
    screen.line(&screen.tint(&format!("A cluster is up at http://{address}, {pace}."), Tint::Bold));
    screen.line(&format!("  operator   {operator}"));
    screen.line(&format!("  console    {console} shows the control plane; it has a registration token waiting"));
    screen.line(&format!("  export KUBECONFIG={kubeconfig}"));
    screen.line(
        "  kubectl create namespace org-a && kubectl label namespace org-a app.vworkspace.io/managed-by=vworkspace",
    );
    screen.line("  kubectl apply -f sim/scenarios/first-instance.yaml && kubectl get appinst -n org-a --watch");
    screen.line(&screen.tint("Ctrl-C ends it.", Tint::Dim));
    screen.line("");
}

/// A kubeconfig on disk; a temporary one is removed when this is dropped.
struct KubeConfig {
    path: PathBuf,
    temporary: bool,
}

impl KubeConfig {
    fn write(wanted: Option<&Path>, address: SocketAddr) -> Result<Self, String> {
        let temporary = std::env::temp_dir().join(format!("sim-{}.kubeconfig", address.port()));
        let path = wanted.map_or(temporary, Path::to_owned);
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: sim\nclusters:\n- name: sim\n  cluster:\n    server: http://{address}\n\
             contexts:\n- name: sim\n  context:\n    cluster: sim\n    user: admin\nusers:\n- name: admin\n  user: {{}}\n"
        );
        let mut file =
            std::fs::File::create(&path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        file.write_all(text.as_bytes()).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        Ok(Self { path, temporary: wanted.is_none() })
    }
}

impl Drop for KubeConfig {
    fn drop(&mut self) {
        if self.temporary {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
