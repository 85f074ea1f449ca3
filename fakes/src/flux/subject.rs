//! One object under reconciliation: its conditions, and the up to three writes of one patch (downstream §1).

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::conditions::{conditions, place, rebase};
use super::timing::Step;
use super::world::{Controller, World};
use crate::apiserver::Client;
use crate::script::{Switch, Target};

/// What every pass of one controller shares.
pub(crate) struct Hub {
    pub(crate) client: Client,
    pub(crate) world: World,
    pub(crate) controller: Controller,
}

/// Why a pass ends without an outcome of its own.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The process dies here.
    Crash,
    /// The object is gone.
    Gone,
    /// The API server refused or did not understand; the pass is retried with backoff.
    Api(String),
}

/// The object as last seen, as it was at the last patch, and as it is being changed.
pub(crate) struct Subject<'a> {
    pub(crate) hub: &'a Hub,
    pub(crate) target: Target,
    path: String,
    server: Value,
    known: Value,
    pub(crate) object: Value,
    /// The switch that this pass has met and that its next patch obeys.
    pub(crate) fault: Option<Switch>,
}

const MERGE: Option<&str> = Some("application/merge-patch+json");

/// A patch tries this often to place its conditions.
const CONFLICT_TRIES: u32 = 5;
/// And waits this long in between.
const CONFLICT_WAIT: Duration = Duration::from_millis(100);
/// H9 waits this long for a change of the spec, then gives up.
const INFLATE_WAIT: Duration = Duration::from_secs(600);

impl<'a> Subject<'a> {
    pub(crate) fn new(hub: &'a Hub, target: Target, path: String, object: Value) -> Self {
        Self { hub, target, path, server: object.clone(), known: object.clone(), object, fault: None }
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.target.namespace
    }

    pub(crate) fn name(&self) -> &str {
        &self.target.name
    }

    /// `metadata.generation` of the copy that this pass works on.
    pub(crate) fn generation(&self) -> i64 {
        self.object["metadata"]["generation"].as_i64().unwrap_or_default()
    }

    pub(crate) fn observed_generation(&self) -> i64 {
        self.object["status"]["observedGeneration"].as_i64().unwrap_or(-1)
    }

    pub(crate) fn is_deleted(&self) -> bool {
        !self.object["metadata"]["deletionTimestamp"].is_null()
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.object["spec"]["suspend"] == true
    }

    pub(crate) fn spec(&self, pointer: &str) -> Option<&Value> {
        self.object["spec"].pointer(pointer).filter(|value| !value.is_null())
    }

    pub(crate) fn spec_text(&self, pointer: &str) -> Option<&str> {
        self.spec(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    pub(crate) fn annotation(&self, name: &str) -> Option<&str> {
        self.object["metadata"]["annotations"].get(name).and_then(Value::as_str)
    }

    pub(crate) fn status_text(&self, field: &str) -> &str {
        self.object["status"].get(field).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn status_number(&self, field: &str) -> i64 {
        self.object["status"].get(field).and_then(Value::as_i64).unwrap_or_default()
    }

    /// Sets a status field; null, the empty text and zero remove it, as a zero value of the real type does.
    pub(crate) fn set_status(&mut self, field: &str, value: Value) {
        let empty = value.is_null() || value == json!("") || (value == json!(0) && field != "observedGeneration");
        if !self.object["status"].is_object() {
            self.object["status"] = json!({});
        }
        if let Some(status) = self.object["status"].as_object_mut() {
            if empty {
                status.remove(field);
            } else {
                status.insert(field.to_owned(), value);
            }
        }
    }

    pub(crate) fn has_finalizer(&self) -> bool {
        finalizers(&self.object).iter().any(|one| one == FINALIZER)
    }

    pub(crate) fn add_finalizer(&mut self) {
        let mut all = finalizers(&self.object);
        all.push(json!(FINALIZER));
        self.object["metadata"]["finalizers"] = Value::Array(all);
    }

    pub(crate) fn remove_finalizer(&mut self) {
        let mut all = finalizers(&self.object);
        all.retain(|one| one != FINALIZER);
        self.object["metadata"]["finalizers"] = Value::Array(all);
    }

    // Conditions.

    pub(crate) fn condition(&self, kind: &str) -> Option<&Value> {
        let list = self.object["status"]["conditions"].as_array()?;
        list.iter().find(|condition| condition["type"] == kind)
    }

    pub(crate) fn is(&self, kind: &str, status: &str) -> bool {
        self.condition(kind).is_some_and(|condition| condition["status"] == status)
    }

    pub(crate) fn message(&self, kind: &str) -> String {
        self.condition(kind).and_then(|condition| condition["message"].as_str()).unwrap_or_default().to_owned()
    }

    pub(crate) fn has_reason(&self, kind: &str, reasons: &[&str]) -> bool {
        self.condition(kind)
            .and_then(|condition| condition["reason"].as_str())
            .is_some_and(|reason| reasons.contains(&reason))
    }

    pub(crate) fn set(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let generation = self.generation();
        let now = self.hub.world.stamp();
        let wanted = json!({"type": kind, "status": status, "reason": reason, "message": message});
        let list = place(conditions(&self.object), wanted, generation, &now);
        self.object["status"]["conditions"] = Value::Array(list);
    }

    pub(crate) fn remove(&mut self, kind: &str) {
        let mut list = conditions(&self.object);
        list.retain(|condition| condition["type"] != kind);
        if !list.is_empty() || self.object["status"].get("conditions").is_some() {
            self.object["status"]["conditions"] = Value::Array(list);
        }
    }

    pub(crate) fn ready(&mut self, status: &str, reason: &str, message: &str) {
        self.set("Ready", status, reason, message);
    }

    pub(crate) fn reconciling(&mut self, reason: &str, message: &str) {
        self.remove("Stalled");
        self.set("Reconciling", "True", reason, message);
    }

    pub(crate) fn stalled(&mut self, reason: &str, message: &str) {
        self.remove("Reconciling");
        self.set("Stalled", "True", reason, message);
    }

    /// Records an Event about the object.
    pub(crate) async fn event(&self, kind: &str, reason: &str, message: &str) {
        super::events::record(self.hub, &self.object, kind, reason, message).await;
    }

    // Writing.

    /// Brings the server to what the pass has made of the object: conditions, then metadata, then the rest of the status,
    /// each as one write and only where something differs.
    pub(crate) async fn patch(&mut self) -> Result<(), Stop> {
        if self.fault == Some(Switch::H8) {
            // The conditions are lost on the way, what Helm did is not.
            self.write_status().await?;
            self.known = self.object.clone();
            return Ok(());
        }
        self.write_conditions().await?;
        if self.fault == Some(Switch::H1) {
            return Err(Stop::Crash);
        }
        self.write_metadata().await?;
        self.write_status().await?;
        self.known = self.object.clone();
        Ok(())
    }

    /// The last patch of a pass; `observed` also advances the observed generation.
    pub(crate) async fn finish(&mut self, observed: bool) -> Result<(), Stop> {
        if observed {
            self.set_status("observedGeneration", json!(self.generation()));
        }
        if self.hub.world.take(Switch::H9, &self.target).is_some() {
            self.wait_for_another_generation().await;
        }
        self.patch().await
    }

    async fn write_conditions(&mut self) -> Result<(), Stop> {
        let (before, after) = (conditions(&self.known), conditions(&self.object));
        if before == after {
            return Ok(());
        }
        for attempt in 0..CONFLICT_TRIES {
            let list = if attempt == 0 && conditions(&self.server) == before {
                after.clone()
            } else {
                rebase(&self.server, &before, &after, &self.hub.world.stamp())
            };
            let version = self.server["metadata"]["resourceVersion"].clone();
            let body = json!({"metadata": {"resourceVersion": version}, "status": {"conditions": list}});
            match self.send("/status", &body).await? {
                Sent::Done => return Ok(()),
                Sent::Conflict => {
                    tokio::time::sleep(CONFLICT_WAIT).await;
                    self.reread().await?;
                }
            }
        }
        Err(Stop::Api("conditions: conflict after every try".into()))
    }

    async fn write_metadata(&mut self) -> Result<(), Stop> {
        let (before, after) = (finalizers(&self.known), finalizers(&self.object));
        if before == after {
            return Ok(());
        }
        let body = json!({"metadata": {"finalizers": after}});
        self.send("", &body).await.map(|_| ())
    }

    async fn write_status(&mut self) -> Result<(), Stop> {
        let rest = |object: &Value| {
            let mut status = object["status"].as_object().cloned().unwrap_or_default();
            status.remove("conditions");
            status
        };
        let difference = difference(&rest(&self.known), &rest(&self.object));
        if difference.is_empty() {
            return Ok(());
        }
        let body = json!({"status": difference});
        self.send("/status", &body).await.map(|_| ())
    }

    async fn send(&mut self, subresource: &str, body: &Value) -> Result<Sent, Stop> {
        tokio::time::sleep(self.hub.world.span(Step::Write, &self.target.to_string())).await;
        let strict = if self.hub.world.settings().strict { "&fieldValidation=Strict" } else { "" };
        let path = format!("{}{subresource}?fieldManager={}{strict}", self.path, self.hub.controller.name());
        let (code, answer) = self.hub.client.request("PATCH", &path, MERGE, Some(body)).await;
        // Whoever waits for this commit may run before the next one.
        tokio::task::yield_now().await;
        match code {
            200 | 201 => {
                self.server = answer;
                Ok(Sent::Done)
            }
            404 => Err(Stop::Gone),
            409 => Ok(Sent::Conflict),
            _ => Err(Stop::Api(format!("PATCH {path}: {code} {}", answer["message"].as_str().unwrap_or_default()))),
        }
    }

    async fn reread(&mut self) -> Result<(), Stop> {
        let (code, answer) = self.hub.client.request("GET", &self.path, None, None).await;
        match code {
            200 => {
                self.server = answer;
                Ok(())
            }
            404 => Err(Stop::Gone),
            _ => Err(Stop::Api(format!("GET {}: {code}", self.path))),
        }
    }

    async fn wait_for_another_generation(&mut self) {
        let mut waited = Duration::ZERO;
        let step = Duration::from_millis(200);
        while waited < INFLATE_WAIT {
            let (code, answer) = self.hub.client.request("GET", &self.path, None, None).await;
            let moved = answer["metadata"]["generation"].as_i64() != Some(self.generation());
            if code != 200 || moved {
                return;
            }
            tokio::time::sleep(step).await;
            waited += step;
        }
    }

    /// The resourceVersion of the last answer: what the cache must have reached before the next pass.
    pub(crate) fn version(&self) -> String {
        self.server["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned()
    }
}

enum Sent {
    Done,
    Conflict,
}

/// The finalizer of every Flux kind.
pub(crate) const FINALIZER: &str = "finalizers.fluxcd.io";

fn finalizers(object: &Value) -> Vec<Value> {
    object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default()
}

/// The merge patch from one map to another: changed and new fields whole where they are not objects, removed ones null.
fn difference(before: &Map<String, Value>, after: &Map<String, Value>) -> Map<String, Value> {
    let mut patch = Map::new();
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, value) in after {
        match (before.get(name), value) {
            (Some(old), _) if old == value => {}
            (Some(Value::Object(old)), Value::Object(new)) => {
                patch.insert(name.clone(), Value::Object(difference(old, new)));
            }
            _ => {
                patch.insert(name.clone(), value.clone());
            }
        }
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_status_fields_become_null() {
        let before = json!({"failures": 1, "history": [1], "same": true});
        let after = json!({"history": [2, 1], "same": true});
        let (Value::Object(before), Value::Object(after)) = (before, after) else { unreachable!("both are objects") };
        assert_eq!(Value::Object(difference(&before, &after)), json!({"failures": null, "history": [2, 1]}));
    }
}
