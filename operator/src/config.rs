//! Flags and environment → [`Config`], refused early with one readable message (contract §27.1).

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::{ArgAction, Parser, ValueEnum};

mod register;

pub use register::{Register, TokenSource};

/// The settings of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Namespace of the operator's own objects.
    pub operator_namespace: String,
    /// Name of this process in the leader Lease: unique among living processes.
    pub identity: String,
    /// Whether a Lease decides who acts.
    pub leader_elect: bool,
    /// Where probes are answered; `None` switches them off.
    pub probes: Option<SocketAddr>,
    /// Passes of one loop that may run at once.
    pub workers: u16,
    /// Least severe level that is logged.
    pub log_level: LogLevel,
    /// Namespace of Flux.
    pub flux_namespace: String,
    /// Where Flux's notification-controller takes events (contract §21.1).
    pub flux_events_address: String,
    /// Namespace of Velero.
    pub velero_namespace: String,
    /// Name of the Secret with the control plane's credentials.
    pub credentials_secret: String,
    /// Namespace of that Secret.
    pub credentials_namespace: String,
    /// How often jobs are polled for.
    pub poll_interval: Duration,
    /// When a job that cannot be applied is given up.
    pub job_deadline: Duration,
    /// How often the control plane hears from us.
    pub heartbeat_interval: Duration,
    /// How long an event waits for others.
    pub event_flush_interval: Duration,
    /// Events per request.
    pub event_batch_size: u16,
    /// Who binds the rights in gated namespaces.
    pub rbac_mode: RbacMode,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            operator_namespace: "vworkspace-system".into(),
            identity: "vworkspace-app-operator".into(),
            leader_elect: true,
            probes: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8081)),
            workers: 8,
            log_level: LogLevel::Info,
            flux_namespace: "flux-system".into(),
            flux_events_address: events_address("flux-system"),
            velero_namespace: "velero".into(),
            credentials_secret: "vworkspace-agent-credentials".into(),
            credentials_namespace: "vworkspace-system".into(),
            poll_interval: Duration::from_secs(30),
            job_deadline: Duration::from_secs(1800),
            heartbeat_interval: Duration::from_secs(30),
            event_flush_interval: Duration::from_secs(1),
            event_batch_size: 100,
            rbac_mode: RbacMode::Dynamic,
        }
    }
}

/// Least severe level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum LogLevel {
    /// Non-retryable failures.
    Error,
    /// And retryable failures, and what is blocked.
    Warn,
    /// And transitions, external writes, job steps.
    Info,
    /// And each pass.
    Debug,
}

/// Who binds the namespace ClusterRole in gated namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RbacMode {
    /// The operator.
    Dynamic,
    /// An administrator.
    Static,
}

/// Turns ApplicationInstance and Operation objects of this cluster into objects of Flux, Velero and others, and reports
/// what became of them. One per cluster.
///
/// The cluster is the one of KUBECONFIG, of ~/.kube/config, or the one this pod runs in, in this order.
#[derive(Debug, Parser)]
#[command(
    name = "vworkspace-app-operator",
    version,
    max_term_width = 120,
    args_override_self = true,
    after_help = "Command:\n  register    Registers this cluster with its control plane; see `register --help`"
)]
struct Flags {
    /// Elect a leader by a Lease (15 s, renewed within 10 s, retried every 2 s) before acting.
    #[arg(long, value_name = "BOOL", default_value = "true", num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    leader_elect: bool,

    /// Address of /healthz and /readyz: `host:port`, `:port`, or `0` to switch them off.
    #[arg(long, value_name = "ADDRESS", default_value = ":8081", value_parser = address)]
    health_probe_bind_address: Address,

    /// Passes of one loop that may run at once.
    #[arg(long, value_name = "1-256", default_value = "8", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,

    /// Least severe level that is logged, one JSON object per line on stderr.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: LogLevel,

    /// Namespace of the operator's own objects. Set by the chart from the pod.
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE", default_value = "vworkspace-system", value_parser = name)]
    operator_namespace: String,

    /// Name of this process in the leader Lease. Default: the pod's name, else the host's name and the process id.
    #[arg(long, value_name = "NAME", env = "POD_NAME", value_parser = name)]
    identity: Option<String>,

    /// Namespace of Flux.
    #[arg(long, value_name = "NAMESPACE", default_value = "flux-system", value_parser = name)]
    flux_namespace: String,

    /// Where Flux's notification-controller takes events. Default: its Service in the namespace of Flux.
    #[arg(long, value_name = "URL", value_parser = url)]
    flux_events_address: Option<String>,

    /// Namespace of Velero.
    #[arg(long, value_name = "NAMESPACE", env = "VELERO_NAMESPACE", default_value = "velero", value_parser = name)]
    velero_namespace: String,

    /// Secret with the control plane's credentials.
    #[arg(long, value_name = "NAME", default_value = "vworkspace-agent-credentials", value_parser = name)]
    agent_credentials_secret: String,

    /// Namespace of that Secret. Default: the operator's own.
    #[arg(long, value_name = "NAMESPACE", value_parser = name)]
    agent_credentials_namespace: Option<String>,

    /// How often jobs are polled for.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = interval)]
    agent_poll_interval: Interval,

    /// When a job that cannot be applied is given up.
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = interval)]
    job_deadline: Interval,

    /// How often the control plane hears from this cluster.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = interval)]
    heartbeat_interval: Interval,

    /// How long an event waits for others before it is sent.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    event_flush_interval: Interval,

    /// Events per request.
    #[arg(long, value_name = "1-1000", default_value = "100", value_parser = clap::value_parser!(u16).range(1..=1000))]
    event_batch_size: u16,

    /// Who binds the namespace ClusterRole in gated namespaces.
    #[arg(long, value_name = "MODE", default_value = "dynamic")]
    rbac_mode: RbacMode,

    /// Secret with approval keys of the legacy claim format.
    #[arg(
        long,
        value_name = "NAME",
        env = "VWORKSPACE_APPROVAL_CLAIM_SECRET",
        default_value = "",
        hide_env_values = true
    )]
    approval_claim_secret: String,

    /// Address of the metrics endpoint. This version serves none: only `0` is accepted.
    #[arg(long, value_name = "ADDRESS", default_value = "0", value_parser = off)]
    metrics_bind_address: Off,
    /// Ignored while metrics are off.
    #[arg(long, value_name = "BOOL", default_value = "true", num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set, hide = true)]
    metrics_secure: bool,
    /// Ignored while metrics are off.
    #[arg(long, default_value = "", hide = true)]
    metrics_cert_path: String,
    /// Ignored while metrics are off.
    #[arg(long, default_value = "tls.crt", hide = true)]
    metrics_cert_name: String,
    /// Ignored while metrics are off.
    #[arg(long, default_value = "tls.key", hide = true)]
    metrics_cert_key: String,

    /// Serve the admission webhook. This version serves none: only `false` is accepted.
    #[arg(long, value_name = "BOOL", default_value = "false", num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set, value_parser = disabled)]
    webhooks_enabled: Off,
    /// Ignored while the webhook is off.
    #[arg(long, default_value = "", hide = true)]
    webhook_cert_path: String,
    /// Ignored while the webhook is off.
    #[arg(long, default_value = "tls.crt", hide = true)]
    webhook_cert_name: String,
    /// Ignored while the webhook is off.
    #[arg(long, default_value = "tls.key", hide = true)]
    webhook_cert_key: String,
    /// Ignored while the webhook is off.
    #[arg(long, default_value = "self", hide = true)]
    webhook_cert_mode: String,
    /// Ignored: nothing is served over TLS.
    #[arg(long, default_value = "false", num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set, hide = true)]
    enable_http2: bool,
    /// Accepted from older installations, ignored.
    #[arg(long, default_value = "false", num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set, hide = true)]
    seaweed_watches_enabled: bool,
    /// Accepted from older installations: sets the log level.
    #[arg(long, value_name = "LEVEL", hide = true, value_parser = zap_level)]
    zap_log_level: Option<LogLevel>,
    /// Accepted from older installations, ignored.
    #[arg(long, default_value = "false", num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set, hide = true)]
    zap_devel: bool,
    /// Accepted from older installations, ignored.
    #[arg(long, default_value = "json", hide = true)]
    zap_encoder: String,
    /// Accepted from older installations, ignored.
    #[arg(long, default_value = "error", hide = true)]
    zap_stacktrace_level: String,
    /// Accepted from older installations, ignored.
    #[arg(long, default_value = "rfc3339", hide = true)]
    zap_time_encoding: String,
}

/// A flag of older agents that has no meaning any more, and what replaces it.
const REMOVED: [(&str, &str); 3] = [
    ("agent-enabled", "the agent is always part of the operator; remove the flag"),
    (
        "control-plane-base-url",
        "connection data is taken from the Cluster object and the credentials Secret only; set \
         spec.controlPlaneEndpoint on the Cluster and remove the flag",
    ),
    (
        "odoo-",
        "connection data is taken from the Cluster object and the credentials Secret only; set spec.controlPlaneEndpoint on the \
         Cluster and remove the flag",
    ),
];

impl Config {
    /// Reads the arguments (the first is the program's name) and the environment.
    ///
    /// # Errors
    /// Text for the user, and the exit code, as clap prints them; also for `--help` and `--version`.
    pub fn from_args(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let args: Vec<OsString> = args.into_iter().map(long).collect();
        for arg in args.iter().filter_map(|arg| arg.to_str()) {
            let flag = arg.trim_start_matches('-').split('=').next().unwrap_or_default();
            if let Some((removed, instead)) =
                REMOVED.iter().find(|(removed, _)| arg.starts_with("--") && flag.starts_with(removed))
            {
                let _ = removed;
                let text = format!("--{flag} was removed: {instead}.\n");
                return Err(clap::Error::raw(clap::error::ErrorKind::UnknownArgument, text));
            }
        }
        Flags::try_parse_from(args).map(Flags::into_config)
    }
}

impl Flags {
    fn into_config(self) -> Config {
        Config {
            identity: self.identity.unwrap_or_else(identity),
            leader_elect: self.leader_elect,
            probes: self.health_probe_bind_address.0,
            workers: self.workers,
            log_level: self.zap_log_level.unwrap_or(self.log_level),
            flux_events_address: self.flux_events_address.unwrap_or_else(|| events_address(&self.flux_namespace)),
            flux_namespace: self.flux_namespace,
            velero_namespace: self.velero_namespace,
            credentials_secret: self.agent_credentials_secret,
            credentials_namespace: self.agent_credentials_namespace.unwrap_or_else(|| self.operator_namespace.clone()),
            operator_namespace: self.operator_namespace,
            poll_interval: self.agent_poll_interval.0,
            job_deadline: self.job_deadline.0,
            heartbeat_interval: self.heartbeat_interval.0,
            event_flush_interval: self.event_flush_interval.0,
            event_batch_size: self.event_batch_size,
            rbac_mode: self.rbac_mode,
        }
    }
}

/// Host and process id. In a container the pod's name would do, but two processes on one developer's machine must not
/// take each other for themselves.
fn identity() -> String {
    let host = std::env::var("HOSTNAME").ok().filter(|host| !host.is_empty());
    let host = host.or_else(|| std::fs::read_to_string("/etc/hostname").ok().map(|host| host.trim().to_string()));
    format!("{}_{}", host.unwrap_or_else(|| "localhost".into()), std::process::id())
}

/// Go accepts `-flag` for `--flag`, and deployments of older agents use it.
fn long(arg: OsString) -> OsString {
    match arg.to_str() {
        Some(text) if text.len() > 2 && text.starts_with('-') && !text.starts_with("--") => format!("-{text}").into(),
        _ => arg,
    }
}

#[derive(Clone, Copy, Debug)]
struct Address(Option<SocketAddr>);

fn address(text: &str) -> Result<Address, String> {
    let error = || format!("expected `host:port`, `:port` or `0`, for example `:8081`; got `{text}`");
    if text == "0" {
        return Ok(Address(None));
    }
    let with_host =
        if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.replace("localhost:", "127.0.0.1:") };
    with_host.parse().map(|address| Address(Some(address))).map_err(|_| error())
}

/// A setting that this version can only have switched off.
#[derive(Clone, Copy, Debug)]
struct Off;

fn off(text: &str) -> Result<Off, String> {
    if text == "0" { Ok(Off) } else { Err("this version serves no metrics: set it to `0` or remove it".into()) }
}

fn disabled(text: &str) -> Result<Off, String> {
    if text == "false" {
        Ok(Off)
    } else {
        Err("this version serves no admission webhook: set it to `false` or remove it".into())
    }
}

fn name(text: &str) -> Result<String, String> {
    let valid = !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.ends_with(|last: char| last.is_ascii_alphanumeric());
    if valid {
        Ok(text.into())
    } else {
        Err("expected a Kubernetes name: lower-case letters, digits, `-` and `.`".into())
    }
}

/// The Service of notification-controller: plain HTTP inside the cluster is what Flux itself uses.
fn events_address(flux_namespace: &str) -> String {
    format!("http://notification-controller.{flux_namespace}.svc.cluster.local./")
}

fn url(text: &str) -> Result<String, String> {
    let uri: Option<http::Uri> = text.parse().ok();
    let usable = uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
    if usable { Ok(text.into()) } else { Err("expected a URL that begins with http:// or https://".into()) }
}

#[derive(Clone, Copy, Debug)]
struct Interval(Duration);

/// Go's durations in whole milliseconds, from 1 s to 24 h.
fn interval(text: &str) -> Result<Interval, String> {
    const EXPECTED: &str = "expected a duration from 1s to 24h such as `30s`, `1m30s` or `2h`";
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(EXPECTED)?;
        let number: u64 = rest[..digits].parse().map_err(|_| EXPECTED)?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit: u64 = match &rest[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(EXPECTED.into()),
        };
        rest = &rest[letters..];
        total = number.checked_mul(unit).and_then(|part| total.checked_add(part)).ok_or(EXPECTED)?;
    }
    if (1_000..=86_400_000).contains(&total) {
        Ok(Interval(Duration::from_millis(total)))
    } else {
        Err(EXPECTED.into())
    }
}

/// zap's levels, and its numbers for more detail.
fn zap_level(text: &str) -> Result<LogLevel, String> {
    match text {
        "debug" => Ok(LogLevel::Debug),
        "info" => Ok(LogLevel::Info),
        "warn" => Ok(LogLevel::Warn),
        "error" | "panic" | "dpanic" | "fatal" => Ok(LogLevel::Error),
        number if number.parse::<u8>().is_ok_and(|number| number > 0) => Ok(LogLevel::Debug),
        _ => Err("expected debug, info, warn, error, panic or a number above 0".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Config, clap::Error> {
        let args = std::iter::once("vworkspace-app-operator").chain(args.iter().copied());
        Config::from_args(args.map(OsString::from))
    }

    fn with(args: &[&str]) -> Config {
        parse(&[&["--operator-namespace=vworkspace-system", "--identity=vworkspace-app-operator"], args].concat())
            .unwrap_or_else(|error| panic!("{args:?}: {error}"))
    }

    #[test]
    fn without_flags_the_configuration_is_the_default() {
        assert_eq!(with(&[]), Config::default());
    }

    #[test]
    fn accepted() {
        let address = |text: &str| Some(text.parse().expect("an address"));
        assert!(!with(&["--leader-elect=false"]).leader_elect);
        assert!(with(&["--leader-elect"]).leader_elect);
        assert!(!with(&["-leader-elect=false"]).leader_elect, "Go's single dash");
        assert_eq!(with(&["--health-probe-bind-address=0"]).probes, None);
        assert_eq!(with(&["--health-probe-bind-address=:9"]).probes, address("0.0.0.0:9"));
        assert_eq!(with(&["--health-probe-bind-address=[::1]:9"]).probes, address("[::1]:9"));
        assert_eq!(with(&["--health-probe-bind-address=localhost:9"]).probes, address("127.0.0.1:9"));
        assert_eq!(with(&["--agent-poll-interval=1m30s"]).poll_interval, Duration::from_secs(90));
        assert_eq!(with(&["--job-deadline", "2h"]).job_deadline, Duration::from_secs(7200));
        assert_eq!(with(&["--zap-log-level=debug"]).log_level, LogLevel::Debug);
        assert_eq!(with(&["--zap-log-level=3", "--zap-devel"]).log_level, LogLevel::Debug);
        assert_eq!(with(&["--log-level", "warn"]).log_level, LogLevel::Warn);
        assert_eq!(with(&["--rbac-mode=static"]).rbac_mode, RbacMode::Static);
        assert_eq!(with(&["--operator-namespace=ops"]).credentials_namespace, "ops");
        let address = "http://notification-controller.gitops.svc.cluster.local./";
        assert_eq!(with(&["--flux-namespace=gitops"]).flux_events_address, address);
        assert_eq!(with(&["--flux-events-address=http://x:9/"]).flux_events_address, "http://x:9/");
        assert_eq!(
            with(&["--metrics-bind-address=0", "--webhooks-enabled=false", "--seaweed-watches-enabled"]),
            Config::default()
        );
    }

    #[test]
    fn refused_with_the_flag_and_what_is_accepted() {
        for (args, words) in [
            (&["--workers=0"][..], &["--workers", "1..=256"][..]),
            (&["--workers=many"], &["--workers", "many"]),
            (&["--health-probe-bind-address=8081"], &["--health-probe-bind-address", ":8081"]),
            (&["--agent-poll-interval=30"], &["--agent-poll-interval", "30s"]),
            (&["--agent-poll-interval=10ms"], &["--agent-poll-interval", "1s to 24h"]),
            (&["--agent-poll-interval=99999999999999999999h"], &["--agent-poll-interval", "1s to 24h"]),
            (&["--log-level=loud"], &["--log-level", "error, warn, info, debug"]),
            (&["--rbac-mode=none"], &["--rbac-mode", "dynamic, static"]),
            (&["--flux-namespace=Flux_System"], &["--flux-namespace", "lower-case"]),
            (&["--metrics-bind-address=:8443"], &["--metrics-bind-address", "no metrics"]),
            (&["--webhooks-enabled"], &["--webhooks-enabled", "no admission webhook"]),
            (&["--leader-elect=maybe"], &["--leader-elect", "true, false"]),
            (&["--event-batch-size=0"], &["--event-batch-size", "1..=1000"]),
            (&["--flux-events-address=flux"], &["--flux-events-address", "http://"]),
            (&["--no-such-flag"], &["--no-such-flag"]),
            (&["--agent-enabled=true"], &["--agent-enabled was removed"]),
            (&["-agent-enabled"], &["--agent-enabled was removed"]),
            (&["--control-plane-base-url=https://odoo"], &["--control-plane-base-url was removed", "Cluster"]),
            (&["--odoo-base-url", "x"], &["--odoo-base-url was removed", "Cluster"]),
        ] {
            let text = parse(args).expect_err("refused").to_string();
            for word in words {
                assert!(text.contains(word), "{args:?} should mention {word}: {text}");
            }
        }
    }
}
