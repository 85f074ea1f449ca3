//! Watches that never end: kube's watcher with our configuration and our backoff.
//!
//! List, then watch; lists are quorum reads. Never `any_semantic`, never `streaming_lists`: both may return data older
//! than already seen. A watch lasts 45 s, so that a half-open connection is blind for at most 50 s, not 295 s.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, DynamicResourceScope, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource, runtime::watcher as watch_events};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch as signal;
use tokio::time::Instant;

use super::error::{Verb, from_kube, from_status};
use super::seen::Seen;
use crate::cluster_api::backoff::backoff;
use crate::cluster_api::{ApiError, Change, Detail, Kind, Object, Scope};

/// Seconds a watch lasts.
const WATCH_SECONDS: u32 = 45;
/// Objects per page of the initial list: bounds what is decoded at once.
const PAGE: u32 = 250;
/// The longest pause of a broken watch. With the deadline on the head it keeps the repair below 30 s (contract §29.55).
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// A watch without an error for this long has recovered, even if nothing happened on it.
const RECOVERED: Duration = Duration::from_secs(60);

/// See [`crate::cluster_api::ClusterApi::watch`].
pub(super) fn watch(
    client: &Client,
    seen: &Arc<Seen>,
    kind: &Kind,
    scope: &Scope,
    detail: Detail,
) -> BoxStream<'static, Change> {
    match detail {
        Detail::Full => changes::<DynamicObject>(client, seen, kind, scope),
        Detail::Metadata => changes::<PartialObjectMeta<DynamicObject>>(client, seen, kind, scope),
    }
}

/// kube's description of a kind.
pub(super) fn resource(kind: &Kind) -> ApiResource {
    ApiResource {
        group: kind.group.clone(),
        version: kind.version.clone(),
        api_version: kind.api_version(),
        kind: kind.kind.clone(),
        plural: kind.plural.clone(),
    }
}

struct Watch<K> {
    api: Api<K>,
    config: watcher::Config,
    kind: Kind,
    /// Names this watch in the jitter.
    name: String,
    events: BoxStream<'static, Result<Event<K>, watcher::Error>>,
    failures: u32,
    last_failure: Option<Instant>,
    pause: Option<Duration>,
    seen: Arc<Seen>,
    histories: signal::Receiver<u64>,
}

fn changes<K>(client: &Client, seen: &Arc<Seen>, kind: &Kind, scope: &Scope) -> BoxStream<'static, Change>
where
    K: Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>
        + Clone
        + DeserializeOwned
        + Serialize
        + std::fmt::Debug
        + Send
        + 'static,
{
    let resource = resource(kind);
    let api: Api<K> = match &scope.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let mut config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE);
    if !scope.labels.is_empty() {
        config = config.labels(&scope.labels);
    }
    if !scope.fields.is_empty() {
        config = config.fields(&scope.fields);
    }
    let watch = Watch {
        events: watch_events::watcher(api.clone(), config.clone()).boxed(),
        api,
        config,
        kind: kind.clone(),
        name: format!("{}/{}/{}", kind.group, kind.plural, scope.namespace.as_deref().unwrap_or("*")),
        failures: 0,
        last_failure: None,
        pause: None,
        seen: seen.clone(),
        histories: seen.histories(),
    };
    stream::unfold(watch, |mut watch| async move {
        let change = watch.next().await;
        Some((change, watch))
    })
    .boxed()
}

impl<K> Watch<K>
where
    K: Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>
        + Clone
        + DeserializeOwned
        + Serialize
        + std::fmt::Debug
        + Send
        + 'static,
{
    async fn next(&mut self) -> Change {
        if let Some(pause) = self.pause.take() {
            tokio::time::sleep(pause).await;
        }
        let event = tokio::select! {
            biased;
            // Cannot fail: the sender lives in `seen`.
            _ = self.histories.changed() => {
                self.restart();
                return Change::Interrupted(ApiError::Unknown { why: "the cluster's storage went back".into() });
            }
            event = self.events.next() => event,
        };
        match event {
            // A list that begins says nothing about the server yet, so it does not count as recovery.
            Some(Ok(Event::Init)) => Change::Reset,
            Some(Ok(Event::InitApply(object))) => self.alive(Change::Listed(self.object(&object))),
            Some(Ok(Event::InitDone)) => self.alive(Change::Synced),
            Some(Ok(Event::Apply(object))) => self.alive(Change::Applied(self.object(&object))),
            Some(Ok(Event::Delete(object))) => self.alive(Change::Deleted(self.object(&object))),
            Some(Err(error)) => self.failed(error),
            // kube's watcher has no end; if that ever changes, start over.
            None => {
                self.restart();
                Change::Interrupted(ApiError::Unknown { why: "watch ended".into() })
            }
        }
    }

    fn alive(&mut self, change: Change) -> Change {
        self.failures = 0;
        change
    }

    fn failed(&mut self, error: watcher::Error) -> Change {
        if self.last_failure.is_some_and(|last| last.elapsed() > RECOVERED) {
            self.failures = 0;
        }
        self.last_failure = Some(Instant::now());
        self.pause = Some(backoff(self.failures, &self.name, LONGEST_PAUSE));
        self.failures = self.failures.saturating_add(1);
        if lost_its_place(&error) {
            self.restart();
        }
        Change::Interrupted(match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => from_kube(error, Verb::Read, &self.kind),
            watcher::Error::WatchError(status) => from_status(&status, Verb::Read, &self.kind),
            watcher::Error::NoResourceVersion => ApiError::Unknown { why: "list without resourceVersion".into() },
        })
    }

    fn restart(&mut self) {
        self.events = watch_events::watcher(self.api.clone(), self.config.clone()).boxed();
    }

    /// The object as the server sent it, with its own apiVersion and kind also for metadata and items of built-in lists.
    fn object(&self, object: &K) -> Object {
        self.seen.watched(&self.kind, object.meta().resource_version.as_deref());
        let mut value = serde_json::to_value(object).unwrap_or(Value::Null);
        if let Some(map) = value.as_object_mut() {
            map.insert("apiVersion".into(), json!(self.kind.api_version()));
            map.insert("kind".into(), json!(self.kind.kind));
        }
        Object(value)
    }
}

/// Whether to list anew instead of watching on from the same place. kube's watcher lists when the *stream* says 410, but
/// repeats a watch whose *start* failed from where it was, for ever. A start that fails is how a server comes back that
/// is another than before: gone places (410), a kind or a right that went and came back, or storage restored from an
/// older backup (see the module). 429 alone says that the same server is there and busy; a list would add to that.
fn lost_its_place(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code != 429,
        watcher::Error::WatchStartFailed(_) => true,
        _ => false,
    }
}
