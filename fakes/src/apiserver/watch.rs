//! Watches: a cursor over the history of one resource, rendered as one JSON event per line.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep};

use super::depth;
use super::errors::{Cause, Outcome, Status};
use super::json;
use super::list;
use super::reply::{Payload, Reply};
use super::request::Target;
use super::resource::Resource;
use super::selector::Selector;
use super::server::{Pass, Server};
use super::store::{Event, Slot, Stored, Table};
use super::table::Form;

/// Bookmarks come about once a minute (upstream `defaultBookmarkFrequency`) and this long before the end of a watch.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// Shortest default timeout; the longest is twice as long.
const MIN_TIMEOUT_SECONDS: u64 = 1800;

/// An open watch.
pub struct Watch {
    server: Server,
    resource: Arc<Resource>,
    namespace: String,
    selector: Selector,
    /// How objects are shown.
    form: Form,
    /// A Table event with column definitions was sent (B19).
    headed: AtomicBool,
    /// Everything up to here has been looked at.
    cursor: u64,
    slot: Arc<Slot>,
    /// Lines to send before looking for further events.
    ready: VecDeque<Bytes>,
    /// Ends after `ready` is sent.
    last: bool,
    end: Pin<Box<Sleep>>,
    bookmark: Option<Pin<Box<Sleep>>>,
}

/// Opens a watch of a collection.
///
/// # Errors
/// Refusals of the options. A revision that is too old is not one: it is an ERROR event of a watch that then ends.
pub fn start(pass: &mut Pass<'_>, target: &Target) -> Outcome<Reply> {
    let query = &pass.request.query;
    let resource = &target.resource;
    if !resource.verbs.contains(&"watch") {
        return Err(Status::method_not_allowed());
    }
    let selector = Selector::parse(query, resource)?;
    let bookmarks = query.flag("allowWatchBookmarks") == Some(true);
    let initial = query.flag("sendInitialEvents");
    check_options(query.get("resourceVersionMatch"), initial, query.flag("sendInitialEvents").is_some())?;
    let from = list::parse_revision_of_watch(query.get("resourceVersion"))?;
    let seconds = match query.get("timeoutSeconds").and_then(|text| text.parse::<u64>().ok()) {
        Some(seconds) if seconds > 0 => seconds,
        _ => MIN_TIMEOUT_SECONDS + pass.state.entropy.below(MIN_TIMEOUT_SECONDS),
    };
    let now = Instant::now();
    let end = now + Duration::from_secs(seconds);
    let current = pass.state.store.revision();
    let table = pass.state.store.table(&resource.id);
    let mut watch = Watch {
        server: pass.server.clone(),
        resource: resource.clone(),
        namespace: target.namespace.clone(),
        selector,
        form: Form::negotiate(pass.request)?,
        headed: AtomicBool::new(false),
        cursor: from.unwrap_or(current),
        slot: table.subscribe(),
        ready: VecDeque::new(),
        last: false,
        end: Box::pin(tokio::time::sleep_until(end)),
        bookmark: bookmarks.then(|| Box::pin(tokio::time::sleep_until(next_bookmark(now, end)))),
    };
    if from.is_none() {
        // The most recent state is asked for, so the cache asks storage how far it is.
        table.refresh(current);
    }
    let from = from.filter(|revision| *revision > 0);
    match (initial, from) {
        (Some(true), _) | (None, None) => {
            watch.list(table);
            watch.cursor = current;
            if initial == Some(true) && bookmarks {
                watch.ready.push_back(watch.bookmark_line(current, true));
            }
        }
        (Some(false), None) => watch.cursor = current,
        (_, Some(revision)) if revision < table.forgotten() => {
            let message = format!("too old resource version: {revision} ({})", table.forgotten() + 1);
            let status = Status::new(410, "Expired", message);
            watch.ready.push_back(line("ERROR", &json::to_vec(&status.to_value())));
            watch.last = true;
        }
        (_, Some(_)) => {}
    }
    Ok(Reply::new(200, Payload::Watch(Box::new(watch))))
}

fn check_options(version_match: Option<&str>, initial: Option<bool>, initial_given: bool) -> Outcome<()> {
    let mut causes = Vec::new();
    match (version_match, initial_given) {
        (Some(_), false) => {
            causes.push(Cause::forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        (Some("NotOlderThan"), true) => {}
        (found, true) if initial.is_some() => {
            let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            match found {
                None => causes.push(Cause::forbidden("resourceVersionMatch", detail)),
                Some(other) => {
                    causes.push(Cause::forbidden("resourceVersionMatch", detail));
                    causes.push(Cause::not_supported("resourceVersionMatch", &Value::from(other), &["NotOlderThan"]));
                }
            }
        }
        _ => {}
    }
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", "ListOptions", "", causes)) }
}

fn next_bookmark(now: Instant, end: Instant) -> Instant {
    let before_end = end.checked_sub(BOOKMARK_BEFORE_END).unwrap_or(end);
    let regular = now + BOOKMARK_EVERY;
    if before_end > now { regular.min(before_end) } else { regular }
}

fn line(kind: &str, object: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(object.len() + 32);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    out.into()
}

impl Watch {
    fn list(&mut self, table: &Table) {
        let selected = list::in_namespace(&table.objects, &self.namespace)
            .map(|(_, stored)| stored)
            .filter(|stored| self.selector.matches(&stored.value))
            .map(|stored| self.event_line("ADDED", stored))
            .collect::<Vec<_>>();
        self.ready.extend(selected);
    }

    fn event_line(&self, kind: &str, stored: &Arc<Stored>) -> Bytes {
        let shown = list::view(&self.resource, stored);
        let first = !self.headed.load(Ordering::Relaxed);
        let now = self.server.config().clock.now();
        match self.form.event(&self.resource, &shown.value, first, now) {
            Some(object) => {
                self.headed.store(true, Ordering::Relaxed);
                line(kind, &object)
            }
            None => line(kind, &shown.bytes()),
        }
    }

    fn bookmark_line(&self, revision: u64, initial_end: bool) -> Bytes {
        let mut metadata = json!({ "resourceVersion": revision.to_string() });
        if initial_end {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let object =
            json!({ "kind": self.resource.kind, "apiVersion": self.resource.api_version, "metadata": metadata });
        line("BOOKMARK", &json::to_vec(&object))
    }

    /// What an event is for this watch: an object may enter or leave the view (B6).
    fn show(&self, event: &Event) -> Option<Bytes> {
        if !self.namespace.is_empty() && event.key.0 != self.namespace {
            return None;
        }
        let visible = |stored: &&Arc<Stored>| self.selector.is_empty() || self.selector.matches(&stored.value);
        let before = event.before.as_ref().filter(visible);
        let after = event.after.as_ref().filter(visible);
        match (before, after) {
            (None, Some(after)) => Some(self.event_line("ADDED", after)),
            (Some(_), Some(after)) => Some(self.event_line("MODIFIED", after)),
            (Some(_), None) => event.gone().map(|gone| self.event_line("DELETED", &gone)),
            (None, None) => None,
        }
    }

    /// Reads new events. Sets `last` when the watch has fallen out of the history: a consumer that is too slow is cut off (B18).
    fn advance(&mut self) {
        let server = self.server.clone();
        let mut state = server.state();
        let current = state.store.revision();
        let table = state.store.table(&self.resource.id);
        if self.cursor < table.compacted() {
            self.last = true;
            return;
        }
        for event in table.since(self.cursor) {
            if let Some(line) = self.show(event) {
                self.ready.push_back(line);
            }
        }
        self.cursor = self.cursor.max(current);
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.slot.waker.register(context.waker());
        let closed = self.slot.closed.load(Ordering::Relaxed);
        if self.ready.is_empty() && !self.last {
            let deep = self.server.state().deep;
            depth::with_room(deep, || self.advance());
        }
        if let Some(bytes) = self.ready.pop_front() {
            return Poll::Ready(Some(bytes));
        }
        if self.last || closed || self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        if let Some(bookmark) = &mut self.bookmark
            && bookmark.as_mut().poll(context).is_ready()
        {
            let next = next_bookmark(Instant::now(), self.end.deadline());
            bookmark.as_mut().reset(next);
            // Registers the new deadline.
            let _ = bookmark.as_mut().poll(context);
            return Poll::Ready(Some(self.bookmark_line(self.cursor, false)));
        }
        Poll::Pending
    }
}
