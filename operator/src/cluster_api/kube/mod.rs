//! The adapter over kube-rs: the only real implementation of [`ClusterApi`], in production and in every simulation.
//!
//! Each verb is one request with one deadline ([`deadline`]); no verb repeats itself. What a status code means for the
//! caller is decided in [`error`], what is sent to whom in [`path`].

use std::sync::{Arc, Mutex};

use futures::stream::BoxStream;
use kube::Client;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{
    ApiError, Caps, Change, ClusterApi, Detail, Key, Kind, Manager, Object, Preconditions, Propagation, Scope, Uid,
    Version,
};
use crate::transport::HttpService;
use error::{Verb, from_kube};
use tokio::sync::Semaphore;

pub mod connect;
pub mod deadline;
mod depth;
mod discover;
mod error;
mod list;
mod path;
mod seen;
pub mod stack;
mod watch;

/// Objects per page of a list: bounds what is held as text at once.
const PAGE: u32 = 250;
/// Lists read at once. They are the only answers without a small bound, and every pass of many new instances makes one.
const LISTS: usize = 2;

/// A cluster reached over HTTP.
pub struct KubeCluster {
    client: Client,
    discovered: Mutex<discover::Memory>,
    lists: Semaphore,
    seen: Arc<seen::Seen>,
}

impl KubeCluster {
    /// The cluster at `config`'s address, over `service`. Call it inside the runtime that will use it.
    ///
    /// # Errors
    /// When the authentication in `config` is unusable.
    pub fn new(service: HttpService, config: &kube::Config) -> kube::Result<Self> {
        Ok(Self {
            client: stack::client(service, config)?,
            discovered: Mutex::default(),
            lists: Semaphore::new(LISTS),
            seen: Arc::default(),
        })
    }

    async fn send(
        &self,
        verb: Verb,
        kind: &Kind,
        method: http::Method,
        address: &str,
        body: Option<(&'static str, &Value)>,
    ) -> Result<Object, ApiError> {
        let mut request =
            http::Request::builder().method(method).uri(address).header(http::header::ACCEPT, "application/json");
        let bytes = match body {
            Some((content_type, value)) => {
                request = request.header(http::header::CONTENT_TYPE, content_type);
                serde_json::to_vec(value).map_err(|error| ApiError::Refused { why: error.to_string() })?
            }
            None => Vec::new(),
        };
        // An address that is no URI can only come from a name no server would accept.
        let request = request.body(bytes).map_err(|error| ApiError::Refused { why: error.to_string() })?;
        self.text(request, verb, kind).await.and_then(|text| decoded(&text).map(Object))
    }

    /// Not kube's typed request: that logs an answer it cannot decode, and the answer may be a Secret.
    async fn text(&self, request: http::Request<Vec<u8>>, verb: Verb, kind: &Kind) -> Result<String, ApiError> {
        self.client.request_text(request).await.map_err(|error| from_kube(error, verb, kind))
    }

    async fn pages(&self, kind: &Kind, scope: &Scope) -> Result<Vec<Object>, ApiError> {
        let address = path::collection(kind, scope.namespace.as_deref());
        let mut objects = Vec::new();
        let mut from: Option<String> = None;
        let before = self.seen.before_list(kind);
        loop {
            let page = format!("{address}?{}", path::page(scope, PAGE, from.as_deref()));
            let request = http::Request::get(page)
                .header(http::header::ACCEPT, JSON)
                .body(Vec::new())
                .map_err(|error| ApiError::Refused { why: error.to_string() })?;
            let text = self.text(request, Verb::Read, kind).await?;
            let list::Read { items, next, version } = if scope.lean { list::lean(&text)? } else { list::whole(&text)? };
            // Later pages are read at the first one's version.
            if from.is_none() {
                self.seen.listed(kind, version.as_deref(), before);
            }
            objects.extend(items.into_iter().map(|item| typed(item, kind)));
            match next {
                Some(token) if !token.is_empty() => from = Some(token),
                _ => return Ok(objects),
            }
        }
    }
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
// JSON is YAML; older servers know the apply patch under this name only.
const APPLY: &str = "application/apply-patch+yaml";

/// How the server says that a delete's uid is not the object's: before and inside the transaction.
const UID_MISMATCH: [&str; 2] = ["UID in the precondition", "UID in precondition"];

impl ClusterApi for KubeCluster {
    async fn get(&self, key: &Key) -> Result<Option<Object>, ApiError> {
        let before = self.seen.before_read(key);
        match self.send(Verb::Read, &key.kind, http::Method::GET, &path::object(key), None).await {
            Ok(object) => {
                self.seen.read(key, object.text("/metadata/resourceVersion"), before);
                Ok(Some(object))
            }
            Err(ApiError::Missing) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn list(&self, kind: &Kind, scope: &Scope) -> Result<Vec<Object>, ApiError> {
        let _permit = self.lists.acquire().await;
        // A page token can expire while we page (410): once more from the start, then it is the caller's turn.
        let mut objects = match self.pages(kind, scope).await {
            Err(ApiError::Unknown { why }) if why.contains("continue") => self.pages(kind, scope).await?,
            other => other?,
        };
        objects.sort_by(|a, b| (a.namespace(), a.name()).cmp(&(b.namespace(), b.name())));
        Ok(objects)
    }

    async fn create(&self, object: &Object) -> Result<Object, ApiError> {
        let Key { kind, namespace, .. } = path::key_of(object);
        let address =
            format!("{}?fieldManager={}", path::collection(&kind, namespace.as_deref()), Manager::Operator.name());
        self.send(Verb::Create, &kind, http::Method::POST, &address, Some((JSON, &object.0))).await
    }

    async fn apply(&self, object: &Object, manager: Manager, force: bool) -> Result<Object, ApiError> {
        let key = path::key_of(object);
        let address = format!("{}?fieldManager={}&force={force}", path::object(&key), manager.name());
        self.send(Verb::Write, &key.kind, http::Method::PATCH, &address, Some((APPLY, &object.0))).await
    }

    async fn update(&self, object: &Object) -> Result<Object, ApiError> {
        let key = path::key_of(object);
        let address = format!("{}?fieldManager={}", path::object(&key), Manager::Operator.name());
        let before = self.seen.before_read(&key);
        let written = self.send(Verb::Write, &key.kind, http::Method::PUT, &address, Some((JSON, &object.0))).await?;
        self.seen.read(&key, written.text("/metadata/resourceVersion"), before);
        Ok(written)
    }

    async fn patch(&self, key: &Key, uid: &Uid, merge: &Value) -> Result<Object, ApiError> {
        let mut merge = merge.clone();
        merge["metadata"]["uid"] = json!(uid.0);
        let address = format!("{}?fieldManager={}", path::object(key), Manager::Operator.name());
        self.send(Verb::Write, &key.kind, http::Method::PATCH, &address, Some((MERGE, &merge))).await
    }

    async fn patch_status(
        &self,
        key: &Key,
        uid: &Uid,
        version: Option<Version>,
        status: &Value,
    ) -> Result<(), ApiError> {
        let mut body = json!({
            "apiVersion": key.kind.api_version(),
            "kind": key.kind.kind,
            "metadata": { "name": key.name, "uid": uid.0 },
        });
        if let Some(namespace) = &key.namespace {
            body["metadata"]["namespace"] = json!(namespace);
        }
        if let Some(version) = version {
            body["metadata"]["resourceVersion"] = json!(version.0);
        }
        if let Some(status) = without_empty_objects(status) {
            body["status"] = status;
        }
        let address = format!("{}/status?fieldManager={}&force=true", path::object(key), Manager::Operator.name());
        self.send(Verb::Write, &key.kind, http::Method::PATCH, &address, Some((APPLY, &body))).await.map(|_| ())
    }

    async fn delete(&self, key: &Key, only_if: &Preconditions, how: Propagation) -> Result<(), ApiError> {
        let mut preconditions = Map::new();
        if let Some(uid) = &only_if.uid {
            preconditions.insert("uid".into(), json!(uid.0));
        }
        if let Some(version) = &only_if.version {
            preconditions.insert("resourceVersion".into(), json!(version.0));
        }
        let mut options = json!({
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": match how {
                Propagation::Background => "Background",
                Propagation::Foreground => "Foreground",
                Propagation::Orphan => "Orphan",
            },
        });
        if !preconditions.is_empty() {
            options["preconditions"] = Value::Object(preconditions);
        }
        match self.send(Verb::Delete, &key.kind, http::Method::DELETE, &path::object(key), Some((JSON, &options))).await
        {
            Ok(_) | Err(ApiError::Missing) => Ok(()),
            // Another object has taken the name, so the one we meant is gone.
            Err(ApiError::Conflict { why }) if UID_MISMATCH.iter().any(|text| why.contains(text)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn watch(&self, kind: &Kind, scope: &Scope, detail: Detail) -> BoxStream<'static, Change> {
        watch::watch(&self.client, &self.seen, kind, scope, detail)
    }

    async fn discover(&self) -> Result<Caps, ApiError> {
        discover::discover(&self.client, &self.discovered).await
    }
}

/// Decodes an answer without quoting it.
fn decoded<T: DeserializeOwned>(text: &str) -> Result<T, ApiError> {
    serde_json::from_str(text)
        .map_err(|error| ApiError::Unknown { why: format!("answer is not what was asked for (line {})", error.line()) })
}

/// Items of built-in lists come without apiVersion and kind.
fn typed(mut item: Value, kind: &Kind) -> Object {
    if let Some(map) = item.as_object_mut() {
        map.entry("apiVersion").or_insert_with(|| json!(kind.api_version()));
        map.entry("kind").or_insert_with(|| json!(kind.kind));
    }
    Object(item)
}

/// Leaves out nulls and objects that are or become empty: newer servers turn an emptied object of an apply into null,
/// and the schema then refuses the whole status (contract §3.3). `None` when nothing is left. Items of arrays stay, since
/// their number is content.
fn without_empty_objects(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(map) => {
            let kept: Map<String, Value> =
                map.iter().filter_map(|(name, value)| Some((name.clone(), without_empty_objects(value)?))).collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(items) => Some(Value::Array(
            items.iter().map(|item| without_empty_objects(item).unwrap_or_else(|| item.clone())).collect(),
        )),
        other => Some(other.clone()),
    }
}

#[cfg(test)]
mod tests;
