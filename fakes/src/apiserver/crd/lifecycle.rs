//! The controllers of definitions: accepting names, establishing, serving, ending watches after a change (apiserver.md N1, B14).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::apiserver::client::Client;
use crate::apiserver::server::Server;
use crate::apiserver::store::Slot;

use super::removal::Removal;
use super::served;
use super::{ID, condition_of, holds, text};

/// How long each controller takes to hear of a change: a definition is established after two of these (38 ms seen) and
/// served after three (54 ms seen).
const LATENCY: Duration = Duration::from_millis(18);
/// Watches of a changed definition end this long after the change.
const GRACE: Duration = Duration::from_secs(1);
/// The actor of status changes.
pub(super) const ACTOR: &str = "kube-apiserver";

/// What is served of one definition.
struct Shown {
    revision: u64,
    spec: Value,
    accepted: Value,
}

/// Runs the life cycle of all definitions. Never returns.
pub async fn run(server: &Server) {
    let mut life = Life {
        server,
        client: server.client(ACTOR),
        shown: BTreeMap::new(),
        closing: Vec::new(),
        removals: BTreeMap::new(),
    };
    let mut revision = 0;
    loop {
        let due = life.due();
        tokio::select! {
            biased;
            current = server.changed_since(revision) => {
                revision = current;
                tokio::time::sleep(LATENCY).await;
            }
            () = until(due) => {}
        }
        life.pass().await;
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

struct Life<'a> {
    server: &'a Server,
    client: Client,
    shown: BTreeMap<String, Shown>,
    closing: Vec<(Instant, Vec<Arc<Slot>>)>,
    removals: BTreeMap<String, Removal>,
}

impl Life<'_> {
    fn due(&self) -> Option<Instant> {
        let closing = self.closing.iter().map(|(at, _)| *at);
        closing.chain(self.removals.values().map(|removal| removal.due)).min()
    }

    async fn pass(&mut self) {
        let now = Instant::now();
        self.closing.retain(|(at, slots)| {
            if *at > now {
                return true;
            }
            for slot in slots {
                slot.closed.store(true, std::sync::atomic::Ordering::Relaxed);
                slot.waker.wake();
            }
            false
        });
        let definitions = self.serve(now);
        for crd in &definitions {
            if let Some(status) = accept(crd, &definitions, &self.now()) {
                self.write(crd, status).await;
            } else if let Some(status) = establish(crd, &self.now()) {
                self.write(crd, status).await;
            }
        }
        self.remove(&definitions, now).await;
    }

    fn now(&self) -> String {
        crate::apiserver::rest::second(self.server.config().clock.now())
    }

    /// Serves what changed, and gives all definitions as they are.
    fn serve(&mut self, now: Instant) -> Vec<Arc<Value>> {
        let mut state = self.server.state();
        let stored: Vec<(String, u64, Arc<Value>)> = state
            .store
            .objects(ID, "")
            .map(|((_, name), stored)| (name.clone(), stored.revision, stored.value.clone()))
            .collect();
        let gone: Vec<String> =
            self.shown.keys().filter(|name| !stored.iter().any(|(known, ..)| known == *name)).cloned().collect();
        for name in gone {
            let Some(shown) = self.shown.remove(&name) else { continue };
            state.resources.remove(text(&shown.spec, "group"), text(&shown.spec["names"], "plural"));
            let slots = state.store.table(&name.as_str().into()).slots();
            self.closing.push((now + GRACE, slots));
        }
        for (name, revision, crd) in &stored {
            let before = self.shown.get(name);
            if before.is_some_and(|shown| shown.revision == *revision) {
                continue;
            }
            let next = Shown {
                revision: *revision,
                spec: crd["spec"].clone(),
                accepted: crd["status"]["acceptedNames"].clone(),
            };
            if before.is_some_and(|shown| shown.spec != next.spec || shown.accepted != next.accepted) {
                let slots = state.store.table(&name.as_str().into()).slots();
                self.closing.push((now + GRACE, slots));
            }
            served::serve(&mut state, crd, *revision);
            self.shown.insert(name.clone(), next);
        }
        stored.into_iter().map(|(.., crd)| crd).collect()
    }

    /// Writes the status through the API, so that ownership is recorded as for everyone.
    async fn write(&self, crd: &Value, status: Value) {
        let mut crd = crd.clone();
        crd["status"] = status;
        let path = format!(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{}/status",
            text(&crd["metadata"], "name")
        );
        // A conflict means that the definition changed, which brings it here again.
        self.client.put(&path, &crd).await;
    }

    async fn remove(&mut self, definitions: &[Arc<Value>], now: Instant) {
        self.removals.retain(|name, _| definitions.iter().any(|crd| text(&crd["metadata"], "name") == name));
        for crd in definitions.iter().filter(|crd| crd["metadata"]["deletionTimestamp"].is_string()) {
            let name = text(&crd["metadata"], "name").to_owned();
            let removal = self.removals.entry(name).or_insert_with(|| Removal::new(now));
            if removal.due <= now {
                removal.step(self.server, &self.client, crd).await;
            }
        }
    }
}

/// Names in the order in which conflicts are looked for, with the reason of each.
const NAMES: [(&str, &str); 4] = [
    ("plural", "PluralConflict"),
    ("singular", "SingularConflict"),
    ("kind", "KindConflict"),
    ("listKind", "ListKindConflict"),
];

/// The status with the names that the definition may have, if that is not what it says already.
fn accept(crd: &Value, all: &[Arc<Value>], now: &str) -> Option<Value> {
    let wanted = &crd["spec"]["names"];
    let accepted = &crd["status"]["acceptedNames"];
    // Conditions that somebody else took away are not put back.
    if accepted == wanted {
        return None;
    }
    let others: Vec<&Value> = all
        .iter()
        .filter(|other| {
            other["metadata"]["name"] != crd["metadata"]["name"] && other["spec"]["group"] == crd["spec"]["group"]
        })
        .map(|other| &other["status"]["acceptedNames"])
        .collect();
    let resource_taken = |name: &str| {
        others.iter().any(|other| {
            ["plural", "singular"].iter().any(|key| text(other, key) == name)
                || other["shortNames"].as_array().into_iter().flatten().any(|short| short == name)
        })
    };
    let kind_taken =
        |name: &str| others.iter().any(|other| ["kind", "listKind"].iter().any(|key| text(other, key) == name));
    let mut conflict = None;
    let mut names = Map::new();
    for (key, reason) in NAMES {
        let name = text(wanted, key);
        let taken = if key.to_lowercase().contains("kind") { kind_taken(name) } else { resource_taken(name) };
        if !name.is_empty() && taken {
            conflict = Some((reason, name.to_owned()));
            if let Some(before) = accepted.get(key) {
                names.insert(key.to_owned(), before.clone());
            }
        } else if let Some(name) = wanted.get(key) {
            names.insert(key.to_owned(), name.clone());
        }
    }
    let shorts: Vec<&Value> = wanted["shortNames"].as_array().into_iter().flatten().collect();
    match shorts.iter().find(|short| short.as_str().is_some_and(&resource_taken)) {
        Some(taken) => conflict = Some(("ShortNamesConflict", taken.as_str().unwrap_or_default().to_owned())),
        None if !shorts.is_empty() => {
            names.insert("shortNames".to_owned(), json!(shorts));
        }
        None => {}
    }
    if let Some(categories) = wanted.get("categories") {
        names.insert("categories".to_owned(), categories.clone());
    }
    for key in ["plural", "kind"] {
        names.entry(key).or_insert_with(|| json!(""));
    }
    let names = Value::Object(names);
    let condition = match &conflict {
        Some((reason, name)) => {
            json!({"type": "NamesAccepted", "status": "False", "reason": reason, "message": format!("{name:?} is already in use")})
        }
        None => {
            json!({"type": "NamesAccepted", "status": "True", "reason": "NoConflicts", "message": "no conflicts found"})
        }
    };
    let same = condition_of(crd, "NamesAccepted")
        .is_some_and(|found| ["status", "reason", "message"].iter().all(|key| found[*key] == condition[*key]));
    if same && names == *accepted {
        return None;
    }
    let mut status = crd["status"].clone();
    status["acceptedNames"] = names;
    set_condition(&mut status, condition, now);
    if !holds(crd, "Established") {
        let (reason, message) = if conflict.is_some() {
            ("NotAccepted", "not all names are accepted")
        } else {
            ("Installing", "the initial names have been accepted")
        };
        set_condition(
            &mut status,
            json!({"type": "Established", "status": "False", "reason": reason, "message": message}),
            now,
        );
    }
    Some(status)
}

/// The status of a definition whose names were just accepted.
fn establish(crd: &Value, now: &str) -> Option<Value> {
    let installing = condition_of(crd, "Established").is_some_and(|found| found["reason"] == "Installing");
    if !installing || !holds(crd, "NamesAccepted") || crd["metadata"]["deletionTimestamp"].is_string() {
        return None;
    }
    let mut status = crd["status"].clone();
    let condition = json!({
        "type": "Established", "status": "True", "reason": "InitialNamesAccepted", "message": "the initial names have been accepted",
    });
    set_condition(&mut status, condition, now);
    Some(status)
}

/// Puts a condition in; the time moves only with the status.
pub(super) fn set_condition(status: &mut Value, mut condition: Value, now: &str) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    condition["lastTransitionTime"] = json!(now);
    match conditions.iter_mut().find(|known| known["type"] == condition["type"]) {
        Some(known) => {
            if known["status"] == condition["status"] {
                condition["lastTransitionTime"] = known["lastTransitionTime"].clone();
            }
            *known = condition;
        }
        None => conditions.push(condition),
    }
}
