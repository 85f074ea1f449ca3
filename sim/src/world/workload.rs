//! What people do: the steps of a case, carried out one after another.

use std::time::Duration;

use fakes::script::Order;
use serde_json::{Value, json};

use super::{World, instance_path, message};
use crate::case::{Step, Until, Wish, seconds, split};
use crate::truth::{
    INSTANCES, OCI_REPOSITORIES, Truth, condition_reason, condition_status, deleting, generation, number, owner, text,
    uid,
};

/// The cluster id every case uses (contract §28).
pub const CLUSTER: &str = "c1";

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
        Until::Gone { instance } => gone(instance, truth),
    }
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
