//! `sim bench`: the figures that matter, beside their targets. Figures, not tests: a slow machine prints other numbers.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use fakes::apiserver::{Clock, Config, Server};
use http_body_util::{BodyExt, Full};
use serde::Serialize;
use serde_json::{Value, json};

use super::Exit;
use super::screen::{Screen, Tint};
use crate::case::{Case, Step, Until, Wish};
use crate::simulation::{Simulation, runtime};
use crate::trace::Detail;
use crate::world::install;
use crate::world::workload::instance;

/// What is measured.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchArgs {
    /// Instances in the large runs
    #[arg(long, default_value_t = 100)]
    instances: u64,
    /// The operator's own binary, whose resident memory is measured [default: the one built beside this program]
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

/// One figure.
#[derive(Serialize)]
struct Figure {
    figure: String,
    value: f64,
    target: f64,
    unit: &'static str,
    #[serde(rename = "atLeast")]
    at_least: bool,
    /// The same by the clock on the wall, where `value` is by the CPU time of the thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    wall: Option<f64>,
}

/// Measures and prints everything.
pub fn bench(screen: Screen, args: &BenchArgs) -> Exit {
    let mut figures = Sheet { screen };
    runtime().block_on(server(&mut figures));
    operator(&mut figures, args.instances);
    memory(&mut figures, args.binary.as_deref());
    Exit::Clean
}

struct Sheet {
    screen: Screen,
}

impl Sheet {
    fn at_least(&mut self, figure: &str, value: f64, target: f64, unit: &'static str) {
        self.add(Figure { figure: figure.into(), value, target, unit, at_least: true, wall: None });
    }

    /// How often something is done in a second of CPU time, which other work on the machine does not change much.
    fn per_second(&mut self, figure: &str, count: u64, took: &Took, target: f64) {
        let rate = |time: Duration| count as f64 / time.as_secs_f64();
        let figure = figure.into();
        let wall = Some(rate(took.wall));
        self.add(Figure { figure, value: rate(took.cpu), target, unit: "1/s", at_least: true, wall });
    }

    fn at_most(&mut self, figure: &str, value: f64, target: f64, unit: &'static str) {
        self.add(Figure { figure: figure.into(), value, target, unit, at_least: false, wall: None });
    }

    fn add(&mut self, figure: Figure) {
        self.screen.object(&figure);
        let good = if figure.at_least { figure.value >= figure.target } else { figure.value <= figure.target };
        let sign = if figure.at_least { "≥" } else { "≤" };
        let wall = figure.wall.map(|wall| format!("  (wall {})", number(wall))).unwrap_or_default();
        let text = format!(
            "{:<58} {:>12} {:<8} target {sign} {}{wall}",
            figure.figure,
            number(figure.value),
            figure.unit,
            number(figure.target)
        );
        self.screen.line(&self.screen.tint(&text, if good { Tint::Green } else { Tint::Yellow }));
    }
}

/// Two decimals below a hundred, thousands grouped above.
fn number(value: f64) -> String {
    if value < 100.0 && value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the real clock")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// Time spent on something.
struct Took {
    cpu: Duration,
    wall: Duration,
}

/// A stop watch for this thread.
struct Watch {
    cpu: Option<Duration>,
    wall: std::time::Instant,
}

impl Watch {
    fn start() -> Watch {
        Watch { cpu: cpu_time(), wall: now() }
    }

    fn stop(&self) -> Took {
        let wall = self.wall.elapsed();
        let cpu = self.cpu.zip(cpu_time()).map_or(wall, |(before, after)| after.saturating_sub(before));
        Took { cpu, wall }
    }
}

/// How long this thread ran on a CPU, as Linux counts it (to some 4 ms); `None` elsewhere.
fn cpu_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// An API server without CRDs on a clock that stands still.
fn fresh() -> Server {
    Server::new(Config::new(Clock::new(|| jiff::Timestamp::UNIX_EPOCH), 1))
}

async fn server(figures: &mut Sheet) {
    let started = now();
    let server = fresh();
    figures.at_most("API server: start, empty", started.elapsed().as_secs_f64() * 1000.0, 5.0, "ms");
    let controllers = server.clone();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { controllers.run_controllers().await });
    install::install(&server.client("admin"), &[]).await.expect("our own definitions are valid");
    let cycle = Cycle { server, figures };
    cycle.run().await;
    tasks.shutdown().await;
}

struct Cycle<'a> {
    server: Server,
    figures: &'a mut Sheet,
}

impl Cycle<'_> {
    async fn run(mut self) {
        let maps = "/api/v1/namespaces/default/configmaps";
        let json = "application/json";
        self.rate("creates of ConfigMaps", 40_000.0, 20_000, "POST", json, |i| (maps.into(), config_map(i))).await;
        self.rate("gets of ConfigMaps", 100_000.0, 50_000, "GET", json, |i| {
            (format!("{maps}/c-{}", i % 20_000), String::new())
        })
        .await;
        let instances = "/apis/apps.vworkspace.io/v1alpha1/namespaces/default/applicationinstances";
        let body = |i: u64, replicas: u64| {
            let wish = Wish {
                instance: format!("default/i-{i}"),
                version: "6.6.0".into(),
                source: "oci".into(),
                values: json!({ "replicaCount": replicas }),
            };
            instance(&wish).to_string()
        };
        self.rate("creates of ApplicationInstances (schema, CEL)", 20_000.0, 10_000, "POST", json, |i| {
            (instances.into(), body(i, 1))
        })
        .await;
        let apply = "application/apply-patch+yaml";
        self.rate("applies of ApplicationInstances", 15_000.0, 10_000, "PATCH", apply, |i| {
            (format!("{instances}/i-{}?fieldManager=bench&force=true", i % 1_000), body(i % 1_000, i / 1_000))
        })
        .await;
        let merge = "application/merge-patch+json";
        self.rate("status patches of ApplicationInstances", 20_000.0, 10_000, "PATCH", merge, |i| {
            (
                format!("{instances}/i-{}/status", i % 1_000),
                json!({ "status": { "observedGeneration": i / 1_000 } }).to_string(),
            )
        })
        .await;
        let server = fresh();
        let client = server.client("bench");
        for i in 0..1_500 {
            let body: Value = serde_json::from_str(&config_map(i)).expect("constant JSON");
            client.post(maps, &body).await;
        }
        self.server = server;
        self.rate("lists of 1,500 objects", 1_000.0, 1_000, "GET", json, |_| (maps.into(), String::new())).await;
    }

    async fn rate(
        &mut self,
        what: &str,
        target: f64,
        count: u64,
        method: &str,
        content_type: &str,
        request: impl Fn(u64) -> (String, String),
    ) {
        let requests: Vec<http::Request<Full<Bytes>>> = (0..count)
            .map(|i| {
                let (path, body) = request(i);
                http::Request::builder()
                    .method(method)
                    .uri(path)
                    .header("content-type", content_type)
                    .body(Full::new(Bytes::from(body)))
                    .expect("constant parts")
            })
            .collect();
        let mut refused = 0;
        let watch = Watch::start();
        for request in requests {
            let response = self.server.handle("bench", request).await;
            refused += u64::from(!response.status().is_success());
            // The body is read as a client would.
            let _ = response.into_body().collect().await;
        }
        let took = watch.stop();
        let what = if refused == 0 {
            format!("API server: {what}")
        } else {
            format!("API server: {what} ({refused} REFUSED)")
        };
        self.figures.per_second(&what, count, &took, target);
    }
}

fn config_map(i: u64) -> String {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": format!("c-{i}") }, "data": { "key": "value" } })
        .to_string()
}

/// A namespace with this many instances, all of them waited for.
fn many(count: u64) -> Case {
    let mut workload = vec![Step::Namespace { name: "org-a".into(), gated: true }];
    workload.extend((0..count).map(|i| {
        Step::Instance(Wish {
            instance: format!("org-a/app-{i}"),
            version: "6.6.0".into(),
            source: "oci".into(),
            values: json!({ "replicaCount": 2 }),
        })
    }));
    // 300 s for the operator and what the engine takes (contract §29.62): it installs four at a time, some 20 s each.
    let within = 300 + 6 * count;
    workload
        .extend((0..count).map(|i| Step::Wait { until: Until::Ready { instance: format!("org-a/app-{i}") }, within }));
    Case::new("many", workload)
}

fn operator(figures: &mut Sheet, instances: u64) {
    let about_objects = |calls: &[String]| {
        calls
            .iter()
            .filter(|call| !call.contains("leases") && !call.starts_with("watch") && !call.starts_with("other"))
            .count() as f64
    };
    let started = now();
    let report = Simulation::new(many(instances)).detail(Detail::Hash).run();
    let elapsed = started.elapsed().as_secs_f64();
    if !report.verdict.is_clean() {
        figures.screen.complain(&format!("the run with {instances} instances is not clean: {}", report.verdict));
        figures.screen.complain("figures of a run that is not clean say nothing: none is printed");
        return;
    }
    // Until convergence and not beyond: the quiet minutes have a figure of their own.
    let brief = |count| Simulation::new(many(count)).detail(Detail::Hash).window(Duration::ZERO).run();
    let (busy, idle) = (brief(instances), brief(0));
    let each = |whole: f64, base: f64| (whole - base) / instances as f64;
    figures.at_most(
        "operator: requests per converged instance",
        each(about_objects(&busy.calls), about_objects(&idle.calls)),
        40.0,
        "",
    );
    let events = |calls: &[String]| calls.iter().filter(|call| call.starts_with("create events")).count() as f64;
    let told = each(events(&busy.calls), events(&idle.calls));
    let written = each(busy.writes as f64, idle.writes as f64) - told;
    figures.at_most(&format!("operator: writes per converged instance (and {told:.1} Events)"), written, 6.0, "");
    figures.at_most(
        &format!("operator: writes in 20 quiet minutes, {instances} instances"),
        report.quiet_writes as f64,
        0.0,
        "",
    );
    let simulated = report.simulated_ms as f64 / 1000.0;
    figures.at_least(
        &format!("simulation: simulated s per s, {instances} instances"),
        simulated / elapsed,
        2_000.0,
        "",
    );
    figures.at_least("simulation: operator's requests per s", report.requests as f64 / elapsed, 20_000.0, "1/s");
}

/// Resident memory of the operator's own binary against `sim up`.
fn memory(figures: &mut Sheet, binary: Option<&Path>) {
    let Ok(this) = std::env::current_exe() else { return };
    let operator = binary.map_or_else(|| this.with_file_name("vworkspace-app-operator"), Path::to_owned);
    if !operator.exists() {
        let why = format!("{} is not there; cargo build --release -p operator", operator.display());
        figures.screen.object(&json!({ "figure": "operator: resident memory", "skipped": why }));
        figures.screen.line(&format!("operator: resident memory: skipped: {why}"));
        return;
    }
    for (count, target) in [(0, 24.0), (1_000, 64.0)] {
        match resident(&this, &operator, count) {
            Ok(mib) => {
                let what =
                    if count == 0 { "idle".into() } else { format!("{} instances, all Ready", number(count as f64)) };
                figures.at_most(&format!("operator: peak resident memory, {what}"), mib, target, "MiB");
            }
            Err(why) => figures.screen.complain(&format!("resident memory with {count} instances: {why}")),
        }
    }
}

/// A child process, ended when dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Simulated seconds per real second. Flux installs four releases at a time, some 20 s each: a thousand in an hour and a
/// half of its time. The operator lives in real time, so it sees everything this much faster than it ever will.
const SPEED: u32 = 30;
/// How long it may take until every instance is Ready, and how long the operator is watched after that, in real time.
const READY: Duration = Duration::from_secs(1_200);
const AFTERWARDS: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(500);
/// Between two counts: a list of everything is work for the server, which shares the machine.
const COUNT: Duration = Duration::from_secs(5);

/// The peak in MiB of a process that has seen every instance become Ready, and some quiet after that.
fn resident(this: &Path, operator: &Path, count: u64) -> Result<f64, String> {
    let stem = std::env::temp_dir().join(format!("sim-bench-{}-{count}", std::process::id()));
    let (kubeconfig, case) = (stem.with_extension("kubeconfig"), stem.with_extension("case.json"));
    let mut story = many(count);
    story.workload.retain(|step| !matches!(step, Step::Wait { .. }));
    std::fs::write(&case, story.write()).map_err(|error| error.to_string())?;
    let silent = |program: &Path| {
        let mut command = Command::new(program);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let mut up = silent(this);
    up.args(["up", "--no-operator", "--listen", "127.0.0.1:0", "--speed"]).arg(SPEED.to_string());
    let cluster = up.arg("--kubeconfig").arg(&kubeconfig).arg("--scenario").arg(&case).spawn();
    let _cluster = Ended(cluster.map_err(|error| format!("sim up: {error}"))?);
    let mut address = None;
    for _ in 0..100 {
        address = std::fs::read_to_string(&kubeconfig).ok().and_then(|text| server_of(&text));
        if address.is_some() {
            break;
        }
        std::thread::sleep(LOOK);
    }
    let address = address.ok_or("sim up does not come up")?;
    let mut binary = silent(operator);
    binary.env("KUBECONFIG", &kubeconfig).env("POD_NAMESPACE", install::SYSTEM).arg("--health-probe-bind-address=0");
    let process = Ended(binary.spawn().map_err(|error| format!("the operator: {error}"))?);
    let begun = now();
    loop {
        let found = if count == 0 { 0 } else { ready(&address).unwrap_or(0) };
        if found >= count {
            break;
        }
        if begun.elapsed() > READY {
            return Err(format!("only {found} are Ready after {} s", READY.as_secs()));
        }
        std::thread::sleep(COUNT);
    }
    std::thread::sleep(AFTERWARDS);
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", process.0.id())).map_err(|error| error.to_string())?;
    let _ = (std::fs::remove_file(&kubeconfig), std::fs::remove_file(&case));
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("the operator has ended")?;
    let kib: f64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).ok_or("VmHWM is no number")?;
    Ok(kib / 1024.0)
}

/// Host and port in a kubeconfig of `sim up`.
fn server_of(kubeconfig: &str) -> Option<String> {
    Some(kubeconfig.split_once("server: http://")?.1.lines().next()?.to_owned())
}

/// How many instances are Ready. HTTP/1.0, because its answers are not chunked.
fn ready(address: &str) -> Option<u64> {
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    let path = "/apis/apps.vworkspace.io/v1alpha1/namespaces/org-a/applicationinstances";
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {address}\r\nuser-agent: bench\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let list: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
    let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    let instances = list["items"].as_array()?.iter();
    let conditions =
        |instance: &Value| instance["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(ready));
    Some(instances.filter(|instance| conditions(instance)).count() as u64)
}
