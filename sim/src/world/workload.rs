//! What people do: the steps of a case, carried out one after another.

use std::time::Duration;

use fakes::script::Order;
use jiff::{SignedDuration, Timestamp};
use operator::protocol::job::Job;
use serde_json::{Value, json};

use super::install::SYSTEM;
use super::{World, instance_path, message};
use crate::case::{JobWish, Step, Turn, Until, Wish, seconds, split};
use crate::truth::view;
use crate::truth::{
    CLUSTERS, INSTANCES, OCI_REPOSITORIES, Truth, condition_reason, condition_status, deleting, generation, number,
    owner, text, uid,
};

/// The cluster id every case uses (contract §28).
pub const CLUSTER: &str = "c1";
/// Where the Cluster is.
pub const CLUSTER_PATH: &str = "/apis/ops.vworkspace.io/v1alpha1/clusters/cluster";
/// Where the control plane is, for its clients.
pub const ENDPOINT: &str = "https://odoo.example.org";
/// The Secret that holds the registration token.
const REGISTRATION: &str = "vworkspace-registration";

impl World {
    /// Carries out one step as the user.
    ///
    /// # Errors
    /// The server refused, or what was waited for did not come.
    pub async fn carry_out(&mut self, step: &Step) -> Result<(), String> {
        let user = self.client("user");
        match step {
            Step::Namespace { name, gated } => {
                accepted(user.post("/api/v1/namespaces", &namespace(name, *gated)).await)
            }
            Step::Apply { manifest } => {
                let path = path_of(manifest)?;
                accepted(user.apply(&format!("{path}?fieldManager=user&force=true"), manifest).await)
            }
            Step::Instance(wish) => {
                let manifest = instance(wish);
                let path = format!("{}?fieldManager=vworkspace-odoo&force=true", instance_path(&wish.instance));
                accepted(user.apply(&path, &manifest).await)
            }
            Step::Upgrade { instance, version } => {
                let merge = json!({ "spec": { "chart": { "version": version } } });
                accepted(user.merge_patch(&instance_path(instance), &merge).await)
            }
            Step::Patch { path, merge } => accepted(user.merge_patch(path, merge).await),
            Step::Delete { path } => accepted(user.delete(path, None).await),
            Step::Flux { order } => {
                self.order(self.named(order));
                Ok(())
            }
            Step::Register => self.register(ENDPOINT).await,
            Step::Job(wish) => {
                self.odoo.enqueue(CLUSTER, job(wish, self.odoo.now()));
                self.tell("odoo", format!("issues job {}: {}", wish.id, wish.kind));
                Ok(())
            }
            Step::RawJob { job } => {
                let id = self.odoo.enqueue_raw(CLUSTER, job.clone());
                self.tell("odoo", format!("issues job {id}"));
                Ok(())
            }
            Step::Odoo { turn } => self.turn(turn),
            Step::Rotate => {
                accepted(user.merge_patch(CLUSTER_PATH, &json!({ "spec": { "rotateCredentials": true } })).await)
            }
            Step::Revoke => {
                self.tell("odoo", "revokes the credential");
                self.odoo.revoke(CLUSTER);
                Ok(())
            }
            Step::Decommission => accepted(user.delete(CLUSTER_PATH, None).await),
            Step::Mode { mode } => {
                accepted(user.merge_patch(CLUSTER_PATH, &json!({ "spec": { "connectivityMode": mode } })).await)
            }
            Step::Wait { until, within } => self.until(seconds(*within), |truth| reached(until, truth)).await,
            Step::Pass { seconds } => {
                tokio::time::sleep(Duration::from_secs(*seconds)).await;
                Ok(())
            }
            Step::Crash { down } => {
                if let Some(operator) = self.operator() {
                    operator.crash(Duration::from_secs(*down));
                }
                Ok(())
            }
        }
    }
}

impl World {
    /// An order for "the source, whatever its name" (`*`), addressed to the one that is there.
    fn named(&self, order: &Order) -> Order {
        let mut order = order.clone();
        if let Some(target) = order.target.as_mut().filter(|target| target.name == "*") {
            let first = |truth: &Truth| truth.all(OCI_REPOSITORIES).next().map(|(address, _)| address.name.clone());
            target.name = self.look(first).unwrap_or_default();
        }
        order
    }
}

impl World {
    /// What an administrator does with a token from the control plane, which is found at `endpoint` (contract §15.1).
    ///
    /// # Errors
    /// The API server refused it.
    pub async fn register(&self, endpoint: &str) -> Result<(), String> {
        let user = self.client("user");
        let token = self.odoo.issue_token(Some(CLUSTER));
        self.tell("odoo", "issues a registration token");
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": { "name": REGISTRATION, "namespace": SYSTEM },
            "stringData": { "registrationToken": token },
        });
        let path = format!("/api/v1/namespaces/{SYSTEM}/secrets/{REGISTRATION}?fieldManager=user&force=true");
        accepted(user.apply(&path, &secret).await)?;
        let cluster = json!({
            "apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Cluster", "metadata": { "name": "cluster" },
            "spec": {
                "displayName": "Berlin", "controlPlaneEndpoint": endpoint,
                "registrationTokenSecretRef": { "name": REGISTRATION, "key": "registrationToken" },
            },
        });
        accepted(user.apply(&format!("{CLUSTER_PATH}?fieldManager=user&force=true"), &cluster).await)
    }

    fn turn(&mut self, turn: &Turn) -> Result<(), String> {
        match turn {
            Turn::Down => {
                self.tell("odoo", "is gone");
                self.control_plane.line().cut();
            }
            Turn::Up => {
                self.tell("odoo", "is back");
                self.control_plane.line().mend();
            }
            Turn::Dials(patch) => {
                let turned = self.odoo.look(|state| state.dials.turned(patch))?;
                self.odoo.dial(|dials| *dials = turned);
            }
            Turn::Redeliver(id) => self.odoo.redeliver(id),
            Turn::Copy => self.copy = Some(Box::new(self.odoo.snapshot())),
            Turn::Restore => {
                let copy = self.copy.clone().ok_or("there is no copy to restore: `odoo copy` makes one")?;
                self.tell("odoo", "is restored from its copy");
                self.odoo.restore(*copy);
            }
            Turn::Forget => {
                self.tell("odoo", "loses its memory");
                self.odoo.forget();
            }
        }
        Ok(())
    }
}

/// A job as the control plane issues it at `now`.
fn job(wish: &JobWish, now: Timestamp) -> Job {
    let expires = wish.expires.and_then(|seconds| i64::try_from(seconds).ok());
    let expires = expires.and_then(|seconds| now.checked_add(SignedDuration::from_secs(seconds)).ok());
    Job {
        id: wish.id.clone(),
        kind: wish.kind.clone(),
        payload: Some(wish.payload.clone()),
        idempotency_key: Some(wish.key.clone()),
        created_at: Some(now.to_string()),
        expires_at: expires.map(|at| at.to_string()),
        ..Job::default()
    }
}

fn accepted((status, answer): (u16, Value)) -> Result<(), String> {
    if status < 300 { Ok(()) } else { Err(format!("the API server answered {status}: {}", message(&answer))) }
}

/// A namespace as people make it.
pub fn namespace(name: &str, gated: bool) -> Value {
    let labels = if gated { json!({ "app.vworkspace.io/managed-by": "vworkspace" }) } else { json!({}) };
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } })
}

/// The manifest of a wish, labelled as the control plane labels what it sends (contract §4.1).
pub fn instance(wish: &Wish) -> Value {
    let (namespace, name) = split(&wish.instance);
    let url = if wish.source == "helm" { "https://charts.example.org/apps" } else { "oci://charts.example.org/apps" };
    let inline = if wish.values.is_null() { json!({}) } else { wish.values.clone() };
    json!({
        "apiVersion": "apps.vworkspace.io/v1alpha1",
        "kind": "ApplicationInstance",
        "metadata": { "name": name, "namespace": namespace, "labels": {
            "app.vworkspace.io/managed-by": "control-plane", "app.vworkspace.io/cluster-id": CLUSTER } },
        "spec": {
            "appRef": { "catalogId": "nextcloud" },
            "chart": { "sourceType": wish.source, "url": url, "name": "nextcloud", "version": wish.version },
            "release": { "name": name, "namespace": namespace },
            "values": { "source": "inline", "inline": inline },
        },
    })
}

fn path_of(manifest: &Value) -> Result<String, String> {
    let (version, kind) = (text(manifest, "/apiVersion"), text(manifest, "/kind"));
    let (namespace, name) = (text(manifest, "/metadata/namespace"), text(manifest, "/metadata/name"));
    let root = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    let lower = kind.to_lowercase();
    let plural = match lower.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if lower.ends_with('s') => format!("{lower}es"),
        None => format!("{lower}s"),
    };
    if version.is_empty() || kind.is_empty() || name.is_empty() {
        return Err("a manifest needs apiVersion, kind and metadata.name".into());
    }
    let within = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
    Ok(format!("{root}{within}/{plural}/{name}"))
}

/// Whether a wait is over; otherwise what is missing.
pub fn reached(until: &Until, truth: &Truth) -> Result<(), String> {
    match until {
        Until::Ready { instance } => {
            let object = find(instance, truth)?;
            let (is, reason) = (condition_status(object, "Ready"), condition_reason(object, "Ready"));
            if number(object, "/status/observedGeneration") != generation(object) {
                return Err(format!("{instance}: generation {} is not reported yet", generation(object)));
            }
            if is == "True" { Ok(()) } else { Err(format!("{instance}: Ready is {is:?} {reason}")) }
        }
        Until::Condition { instance, kind, status, reason } => {
            let object = find(instance, truth)?;
            let (is, why) = (condition_status(object, kind), condition_reason(object, kind));
            if is == status && (reason.is_empty() || why == reason) {
                return Ok(());
            }
            Err(format!("{instance}: {kind} is {is:?} {why}, not {status} {reason}"))
        }
        Until::Job { id, outcome, code } => job_ended(id, outcome, code, truth),
        Until::Cluster { kind, status, reason } => {
            let cluster = truth.get(CLUSTERS, "", "cluster").ok_or("there is no Cluster")?;
            let (is, why) = (condition_status(cluster, kind), condition_reason(cluster, kind));
            if is == status && (reason.is_empty() || why == reason) {
                return Ok(());
            }
            Err(format!("the Cluster: {kind} is {is:?} {why}, not {status} {reason}"))
        }
        Until::View => view::differs(truth, CLUSTER).map_or(Ok(()), Err),
        Until::Gone { instance } => gone(instance, truth),
    }
}

fn job_ended(id: &str, outcome: &str, code: &str, truth: &Truth) -> Result<(), String> {
    let row = truth.odoo(|state| state.jobs.get(id).map(|row| (row.state(), row.result.clone()))).flatten();
    let (state, result) = row.ok_or(format!("there is no job {id}"))?;
    let Some(result) = result else { return Err(format!("job {id} is {state:?}")) };
    let said = serde_json::to_value(result.body.outcome).unwrap_or_default();
    let error = result.body.error.unwrap_or_default();
    if said == outcome && (code.is_empty() || error == code || error.starts_with(&format!("{code}:"))) {
        return Ok(());
    }
    Err(format!("job {id} ended as {said} {error:?}, not {outcome} {code}"))
}

fn find<'a>(instance: &str, truth: &'a Truth) -> Result<&'a Value, String> {
    let (namespace, name) = split(instance);
    truth.get(INSTANCES, namespace, name).map(|object| &**object).ok_or(format!("{instance} does not exist"))
}

fn gone(instance: &str, truth: &Truth) -> Result<(), String> {
    if let Ok(object) = find(instance, truth) {
        let state = if deleting(object) { "is being deleted" } else { "exists" };
        return Err(format!("{instance} {state}"));
    }
    let orphan = truth.objects().find(|(address, object)| {
        owner(object).is_some_and(|of| !truth.all(INSTANCES).any(|(_, instance)| uid(instance) == of))
            && address.namespace == split(instance).0
    });
    match orphan {
        Some((address, _)) => Err(format!("{} {} is left behind", address.resource, address.name)),
        None => Ok(()),
    }
}
