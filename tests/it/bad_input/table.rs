//! What a row of the tables is, and what holds of every run whatever its rows are.

use std::cell::Cell;
use std::sync::Once;

use operator::api::annotation;
use serde_json::{Map, Value, json};

use crate::stage::{INSTANCES, RELEASES, Stage, files};

/// Where ConfigMaps of `org-a` are.
pub(super) const MAPS: &str = "/api/v1/namespaces/org-a/configmaps";
/// Where Secrets of `org-a` are.
pub(super) const SECRETS: &str = "/api/v1/namespaces/org-a/secrets";
/// Where Leases of `org-a` are.
pub(super) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/org-a/leases";
/// Where definitions are.
pub(super) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// No text of ours may contain it.
pub(super) const PRECIOUS: &str = "hunter2";

/// One wrong thing and what must come of it.
pub(super) struct Row {
    /// Name of the instance; the row's number and its key word.
    pub(super) name: &'static str,
    /// A sentence.
    pub(super) what: &'static str,
    pub(super) manifest: Value,
    pub(super) must: Must,
}

/// What must hold at the end.
pub(super) enum Must {
    /// This condition stands, and its message contains the words.
    Say(&'static str, &'static str),
    /// No finalizer, no status, no child.
    BeIgnored,
}

/// A managed instance of this name, changed.
pub(super) fn named(name: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut manifest = files("6.6.0");
    manifest["metadata"]["name"] = json!(name);
    manifest["spec"]["release"]["name"] = json!(name);
    change(&mut manifest);
    manifest
}

pub(super) fn row(
    name: &'static str,
    what: &'static str,
    condition: &'static str,
    words: &'static str,
    change: impl FnOnce(&mut Value),
) -> Row {
    Row { name, what, manifest: named(name, change), must: Must::Say(condition, words) }
}

/// A row that must change nothing: what looks wrong is allowed.
pub(super) fn fine(name: &'static str, what: &'static str, change: impl FnOnce(&mut Value)) -> Row {
    row(name, what, "Ready=T/HelmReleaseReady", "", change)
}

/// Another spec of values.
pub(super) fn inline(values: Value) -> impl FnOnce(&mut Value) {
    move |manifest| manifest["spec"]["values"]["inline"] = values
}

/// One more annotation.
pub(super) fn annotated(key: &'static str, value: String) -> impl FnOnce(&mut Value) {
    move |manifest| manifest["metadata"]["annotations"] = json!({ key: value })
}

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// Counts panics of this thread: a runtime of the tests has no other, and a task that panics is silent otherwise.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.with(|panics| panics.set(panics.get() + 1));
            before(info);
        }));
    });
    PANICS.with(|panics| panics.set(0));
}

/// A stage, and what was put on it that must come out unharmed.
pub(super) struct Run {
    pub(super) stage: Stage,
    /// Objects of others, as they were stored.
    kept: Vec<(String, Value)>,
}

impl Run {
    pub(super) fn new(stage: Stage) -> Self {
        count_panics();
        Self { stage, kept: Vec::new() }
    }

    /// Creates an object of somebody else, which must be the same at the end but for what its own controller does.
    pub(super) async fn keep(&mut self, path: &str, object: Value) {
        let stored = self.stage.cluster.create(path, &object).await;
        self.kept.push((format!("{path}/{}", object["metadata"]["name"].as_str().expect("a name")), stored));
    }

    /// From now on this object must stay as it is.
    pub(super) async fn freeze(&mut self, path: String) {
        let stored = self.stage.get(&path).await;
        assert!(stored.is_object(), "{path}");
        self.kept.push((path, stored));
    }

    /// Applies the instances of all rows.
    pub(super) async fn apply(&mut self, rows: &[Row]) {
        for row in rows {
            let (code, answer) = self.stage.apply(&row.manifest).await;
            assert_eq!(code, 201, "{}: {answer}", row.what);
        }
    }

    /// Milliseconds until a good instance is ready.
    pub(super) async fn neighbour(&self, name: &str, within: u64) -> u64 {
        let (code, answer) = self.stage.apply(&named(name, |_| {})).await;
        assert_eq!(code, 201, "{answer}");
        for tenth in 0..within * 10 {
            if self.stage.conditions(name).await.iter().any(|text| text.starts_with("Ready=T")) {
                return tenth * 100;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("{name} is not ready within {within} s: {:?}", self.stage.conditions(name).await);
    }

    /// Waits for what the rows ask for.
    pub(super) async fn judge(&self, rows: &[Row]) {
        let mut wrong = Vec::new();
        for row in rows {
            if let Err(why) = self.judged(row).await {
                wrong.push(format!("{} ({}): {why}", row.name, row.what));
            }
        }
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    }

    async fn judged(&self, row: &Row) -> Result<(), String> {
        let stage = &self.stage;
        match row.must {
            Must::BeIgnored => {
                let found = stage.instance(row.name).await;
                let conditions = stage.conditions(row.name).await;
                let touched = !found["metadata"]["finalizers"].is_null() || !conditions.is_empty();
                if touched || stage.get(&format!("{RELEASES}/{}", row.name)).await.is_object() {
                    return Err(format!("it is touched: {found}"));
                }
            }
            Must::Say(condition, words) => {
                let mut said = Vec::new();
                for _ in 0..180 {
                    said = stage.conditions(row.name).await;
                    if said.iter().any(|text| text == condition) {
                        break;
                    }
                    stage.pass(1).await;
                }
                let (type_, _) = condition.split_once('=').expect("type=status/reason");
                let message = stage.message(row.name, type_).await;
                if !said.iter().any(|text| text == condition) || !message.contains(words) {
                    return Err(format!("{condition} {words:?} is asked for, {said:?} {message:?} said"));
                }
            }
        }
        self.harmless(row).await
    }

    /// The user's wish is what it was, and no text of ours quotes a secret or grows without bound.
    async fn harmless(&self, row: &Row) -> Result<(), String> {
        let found = self.stage.instance(row.name).await;
        let has = |pointer: &str| found.pointer(pointer).cloned().unwrap_or(Value::Null);
        for pointer in ["/spec/chart", "/spec/values", "/spec/release", "/metadata/labels", "/metadata/annotations"] {
            let wanted = row.manifest.pointer(pointer).cloned().unwrap_or(Value::Null);
            if has(pointer) != wanted {
                let cut = |value: Value| value.to_string().chars().take(400).collect::<String>();
                return Err(format!("{pointer} was {} and is {}", cut(wanted), cut(has(pointer))));
            }
        }
        for condition in has("/status/conditions").as_array().into_iter().flatten() {
            let message = condition["message"].as_str().unwrap_or_default();
            if message.contains(PRECIOUS) || message.len() > 1024 || message.chars().any(char::is_control) {
                return Err(format!("an unfit message: {message:?}"));
            }
        }
        Ok(())
    }

    /// Nobody panicked, the operator runs, and all objects of others are as they were.
    pub(super) async fn end(mut self) {
        for (path, before) in &self.kept {
            let after = self.stage.get(path).await;
            assert_eq!(theirs(&after), theirs(before), "{path}");
            assert!(!after["metadata"]["managedFields"].to_string().contains("vworkspace-operator"), "{path}: {after}");
        }
        assert!(self.stage.runs(), "the operator ended");
        assert_eq!(PANICS.with(Cell::get), 0, "somebody panicked");
        let events = self.stage.get("/api/v1/namespaces/org-a/events").await.to_string();
        assert!(!events.contains(PRECIOUS), "an Event quotes a secret");
    }
}

/// An object without what its own controller writes.
fn theirs(object: &Value) -> Value {
    let mut object = object.clone();
    for field in ["resourceVersion", "managedFields", "finalizers"] {
        object["metadata"].as_object_mut().expect("the object is there").remove(field);
    }
    object.as_object_mut().expect("the object is there").remove("status");
    object
}

/// Milliseconds a good instance takes when nothing else is there.
pub(super) async fn alone() -> u64 {
    let run = Run::new(Stage::start(fakes::flux::Settings::default()).await);
    run.neighbour("neighbour", 60).await
}

/// At most a tenth more.
#[track_caller]
pub(super) fn undelayed(took: u64, alone: u64) {
    assert!(took * 10 <= alone * 11, "the neighbour took {took} ms, alone it takes {alone} ms");
}

/// Maps below maps.
pub(super) fn nested(levels: usize) -> Value {
    (0..levels).fold(json!("bottom"), |below, _| json!({ "deeper": below }))
}

/// A map of many keys.
pub(super) fn many(keys: usize) -> Value {
    (0..keys).map(|number| (format!("key-{number:05}"), json!(number))).collect::<Map<_, _>>().into()
}

/// The release of an instance.
pub(super) fn release(name: &str) -> String {
    format!("{RELEASES}/{name}")
}

/// The instance.
pub(super) fn instance(name: &str) -> String {
    format!("{INSTANCES}/{name}")
}

/// Somebody else's HelmRelease.
pub(super) fn foreign_release(name: &str) -> Value {
    json!({"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": {"name": name, "namespace": "org-a"},
        "spec": {"interval": "5m", "suspend": true, "chart": {"spec": {"chart": "x", "sourceRef": {"kind": "HelmRepository", "name": "x"}}}}})
}

/// A Lease whose lock nobody can read.
pub(super) fn lease(target: &str, lock: &str) -> Value {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {
        "name": operator::api::names::target_lease(target), "annotations": {annotation::LOCK: lock}}})
}
