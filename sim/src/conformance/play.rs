//! Sends one sequence to a fresh server, on a clock that moves only while everything waits.

use std::collections::BTreeMap;
use std::time::Duration;

use fakes::apiserver::{Clock, Config, Server};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::corpus::Sequence;
use super::stream::Stream;
use super::symbols::Symbols;

/// A fixed date for simulated time to start at: 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600;

/// What the server answered.
#[derive(Debug, Default)]
pub(super) struct Played {
    /// The name of the run, to be hidden.
    pub(super) id: String,
    /// Per step what `expect` of the record shows, raw.
    pub(super) answers: Vec<Value>,
    /// Per open stream: its step, its events, whether the server ended it.
    pub(super) streams: Vec<(usize, Vec<Value>, bool)>,
}

/// Plays one sequence on a runtime of its own.
///
/// # Errors
/// A step of the corpus that cannot be understood.
pub(super) fn play(sequence: &Sequence, crds: &[Value]) -> Result<Played, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let start = Instant::now();
        let clock = Clock::new(move || {
            let elapsed = SignedDuration::try_from(start.elapsed()).unwrap_or(SignedDuration::MAX);
            Timestamp::from_second(START).unwrap_or(Timestamp::UNIX_EPOCH) + elapsed
        });
        let mut config = Config::new(clock, sequence.seed);
        let controllers = sequence.is_profile();
        config.controllers.garbage_collector = controllers;
        config.controllers.namespaces = controllers;
        config.controllers.namespace_contents = controllers;
        if sequence.is_profile() {
            config.authorization = fakes::apiserver::Authorization::Rbac;
        }
        let server = Server::new(config);
        let run = Run::new(sequence, server.clone());
        tokio::select! {
            biased;
            () = server.run_controllers() => Err("the controllers ended".to_owned()),
            played = run.go(sequence, crds) => played,
        }
    })
}

pub(super) struct Run {
    pub(super) server: Server,
    pub(super) symbols: Symbols,
    pub(super) clients: bool,
    pub(super) streams: BTreeMap<usize, Stream>,
}

impl Run {
    fn new(sequence: &Sequence, server: Server) -> Run {
        let profile = sequence.is_profile();
        // Recorded ids have 13 characters, and protobuf bodies carry the length.
        let id =
            if profile { format!("zaaaaaaa{:04}q", sequence.seed % 10_000) } else { format!("gr{}", sequence.seed) };
        Run {
            server,
            symbols: Symbols { id, profile, ..Symbols::default() },
            clients: sequence.profile == "clients",
            streams: BTreeMap::new(),
        }
    }

    async fn go(mut self, sequence: &Sequence, crds: &[Value]) -> Result<Played, String> {
        self.prepare(crds).await?;
        let mut answers = Vec::new();
        for (index, step) in sequence.steps().iter().enumerate() {
            let answer = self.step(index, step).await?;
            answers.push(answer);
            self.streams.values_mut().for_each(Stream::drain);
        }
        sleep(Duration::from_millis(300)).await;
        self.streams.values_mut().for_each(Stream::drain);
        let streams = std::mem::take(&mut self.streams);
        let streams = streams.into_iter().map(|(index, stream)| (index, stream.events, stream.ended)).collect();
        Ok(Played { id: self.symbols.id, answers, streams })
    }

    async fn prepare(&mut self, crds: &[Value]) -> Result<(), String> {
        for crd in crds {
            // The recorded server got its definition from `kubectl create`, and some sequences read who owns it.
            let created = self
                .send(
                    "POST",
                    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?fieldManager=kubectl-create",
                    None,
                    Some(crd),
                )
                .await;
            if created.code != 201 {
                return Err(format!("the definition is refused: {}", created.body));
            }
            let spec = &crd["spec"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let path = format!(
                "/apis/{}/{}/{}",
                text(&spec["group"]),
                text(&spec["versions"][0]["name"]),
                text(&spec["names"]["plural"])
            );
            self.until(&path, 200).await?;
        }
        if !self.symbols.profile || self.clients {
            let name = if self.clients { format!("{}-a", self.symbols.id) } else { self.symbols.id.clone() };
            self.send("POST", "/api/v1/namespaces", None, Some(&json!({ "metadata": { "name": name } }))).await;
            if self.clients {
                self.until(&format!("/api/v1/namespaces/{name}/configmaps/kube-root-ca.crt"), 200).await?;
                self.until(&format!("/api/v1/namespaces/{name}/serviceaccounts/default"), 200).await?;
            }
        }
        Ok(())
    }

    async fn step(&mut self, index: usize, step: &Value) -> Result<Value, String> {
        let method = step["m"].as_str().unwrap_or_default();
        let mut raw = Value::Null;
        let mut etag = None;
        let answer = match method {
            "WATCH" => self.watch(index, step).await,
            "QUIESCE"
                if step.get("lists").is_some_and(|lists| lists.as_array().is_some_and(|lists| !lists.is_empty())) =>
            {
                json!({ "state": self.quiesce(step).await })
            }
            "QUIESCE" => {
                sleep(seconds(&step["secs"], 0.5)).await;
                json!({})
            }
            "STREAM" => self.look(step, seconds(&step["secs"], 3.0), None).await,
            "CLOSE" => self.look(step, Duration::from_secs(3), step["n"].as_u64()).await,
            "WAIT" => {
                let (answer, body) = self.wait(step).await;
                raw = body;
                answer
            }
            _ => {
                let (answer, body, found) = self.request(method, step).await?;
                raw = body;
                etag = found;
                answer
            }
        };
        self.symbols.answers.push(raw);
        self.symbols.etags.push(etag);
        Ok(answer)
    }
}

pub(super) fn seconds(value: &Value, missing: f64) -> Duration {
    Duration::from_secs_f64(value.as_f64().unwrap_or(missing).max(0.0))
}
