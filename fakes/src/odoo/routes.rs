//! From a request to what it is for, and from what was done to an answer.

use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use jiff::Timestamp;
use operator::protocol::{MEDIA_TYPE, PATH};
use percent_encoding::percent_decode_str;
use tokio::time::{Instant, sleep, sleep_until};

use super::answer::{self, Answer, Refusal, refuse};
use super::dials::{Does, Endpoint, Face, Kill, Proof};
use super::tables::{Ghost, Post, State};
use super::{Odoo, proof};
use crate::front::Broken;

/// Largest request, in bytes.
const REQUEST_MAX: usize = 16 << 20;

/// A request of the agent protocol, read as far as its path.
struct Asked {
    endpoint: Endpoint,
    job: Option<String>,
    peer: String,
}

impl Odoo {
    /// Answers one request: the agent protocol, or the console. `peer` is the sender as the transport knows it.
    ///
    /// # Errors
    /// The connection breaks instead of an answer: the server is down, or a worker was killed. What became of the request is
    /// unknown to the sender.
    pub async fn handle<B>(&self, peer: &str, request: Request<B>) -> Result<Response<Full<Bytes>>, Broken>
    where
        B: http_body::Body + Send,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let Ok(body) = Limited::new(body, REQUEST_MAX).collect().await else {
            return Err(Broken("the request body broke off, or never ended"));
        };
        let body = body.to_bytes();
        let Some(tail) = parts.uri.path().strip_prefix(PATH).map(str::to_string) else {
            return Ok(self.console(&parts, &body));
        };
        self.agent(peer, &parts, &tail, body).await
    }

    async fn agent(&self, peer: &str, parts: &Parts, tail: &str, body: Bytes) -> Result<Response<Full<Bytes>>, Broken> {
        let now = self.now();
        let host =
            parts.uri.authority().map(|host| host.as_str().to_string()).or_else(|| text(parts, header::HOST.as_str()));
        let number = self.with(|state| state.entropy.next("request"));
        let face = self.look(|state| answer::face(&state.dials.face, host.as_deref(), number, now));
        let asked = route(&parts.method, tail);
        if let Some(shown) = face {
            if let Ok((endpoint, job)) = &asked {
                let asked = Asked { endpoint: *endpoint, job: job.clone(), peer: peer.into() };
                self.note(
                    &asked,
                    None,
                    Bytes::new(),
                    false,
                    shown.as_ref().map_or(0, |answer| answer.status().as_u16()),
                );
            }
            return shown;
        }
        let asked = match asked {
            Ok((endpoint, job)) => Asked { endpoint, job, peer: peer.into() },
            Err(refusal) => return Ok(Answer::from(refusal).response(number, now)),
        };

        let struck = self.with(|state| state.strike(asked.endpoint));
        if let Some(Does::Slow(seconds)) = struck {
            sleep(Duration::from_secs(seconds)).await;
        }
        if let Some(Does::Refuse(status)) = struck {
            self.note(&asked, None, body, false, status);
            return Ok(Answer::from(refuse(status, "Unavailable", "try again")).response(number, self.now()));
        }
        let (cluster, outcome) = self.perform(&asked, parts, &body, struck).await;
        let committed = matches!(outcome, Ok(Answer::Done | Answer::Body(_)));
        let outcome = match struck {
            Some(Does::Commit(status)) => Ok(refuse(status, "Unavailable", "something broke on the way out").into()),
            Some(Does::CommitAndBreak) => Err(Broken("connection reset")),
            Some(Does::CommitPart(_)) => Ok(refuse(500, "Unavailable", "something broke half-way").into()),
            Some(Does::SlowAnswer(seconds)) => {
                sleep(Duration::from_secs(seconds)).await;
                outcome
            }
            _ => outcome,
        };
        self.note(&asked, cluster, body, committed, outcome.as_ref().map_or(0, Answer::status));
        Ok(outcome?.response(number, self.now()))
    }

    async fn perform(
        &self,
        asked: &Asked,
        parts: &Parts,
        body: &Bytes,
        struck: Option<Does>,
    ) -> (Option<String>, Result<Answer, Broken>) {
        if let Err(refusal) = media(parts, body) {
            return (None, Ok(refusal.into()));
        }
        let now = self.now();
        let Some(bearer) =
            text(parts, "authorization").and_then(|value| Some(value.strip_prefix("Bearer ")?.to_string()))
        else {
            return (None, Ok(refuse(401, "Unauthenticated", "no bearer").into()));
        };
        if asked.endpoint == Endpoint::Register {
            let answer = self.with(|state| state.register(&bearer, body, now));
            return (None, Ok(answer.unwrap_or_else(Answer::from)));
        }
        let cluster = match self.with(|state| state.authenticate(&bearer, now)) {
            Ok(cluster) => cluster,
            Err(refusal) => return (None, Ok(refusal.into())),
        };
        if parts.method == Method::POST
            && let Err(refusal) = self.look(|state| proven(state, parts, &bearer, body, now))
        {
            return (Some(cluster), Ok(refusal.into()));
        }
        let job = asked.job.as_deref().unwrap_or_default();
        let answer = match asked.endpoint {
            Endpoint::Poll => return (Some(cluster.clone()), self.poll(&cluster, &bearer, parts.uri.query()).await),
            Endpoint::Register => return (None, Ok(refuse(500, "Unreachable", "answered above").into())),
            Endpoint::Ack => self.with(|state| state.acknowledge(&cluster, job, now)),
            Endpoint::Status => self.with(|state| state.status(&cluster, job, body, now)),
            Endpoint::Result => self.with(|state| state.result(&cluster, job, body, now)),
            Endpoint::Events => {
                let most = if let Some(Does::CommitPart(events)) = struck { events } else { usize::MAX };
                self.with(|state| state.events(&cluster, body, most, now))
            }
            Endpoint::Rotate => self.with(|state| state.rotate(&cluster, &bearer, body, now)),
            Endpoint::Decommission => self.with(|state| state.decommission(&cluster, now)),
        };
        (Some(cluster), Ok(answer.unwrap_or_else(Answer::from)))
    }

    /// A long poll: answered when there is a job, when the wait is over, or when the worker is killed.
    async fn poll(&self, cluster: &str, bearer: &str, query: Option<&str>) -> Result<Answer, Broken> {
        let (wanted, wait) = match asked_for(query.unwrap_or_default()) {
            Ok(asked) => asked,
            Err(refusal) => return Ok(refusal.into()),
        };
        if wanted != cluster {
            return Ok(refuse(403, "OtherCluster", "these are the jobs of another cluster").into());
        }
        let (started, began) = (Instant::now(), self.now());
        let over = started + wait;
        let kill = self.look(|state| state.dials.kill).map(|kill| (kill, started + Duration::from_secs(kill.after)));
        let until = began.checked_add(wait).unwrap_or(Timestamp::MAX);
        let mut held = Held { odoo: self, ghost: Some(Ghost { cluster: cluster.into(), until }) };
        let mut changes = self.0.changes.subscribe();
        loop {
            changes.borrow_and_update();
            let now = self.now();
            if self.look(|state| state.dials.face == Face::Down) {
                held.ghost = None;
                return Err(Broken("connection reset"));
            }
            let looked = {
                let mut state = self.lock();
                let authenticated = state.authenticate(bearer, now);
                authenticated.map(|_| (state.deliver(cluster, now), state.dials.answers_at_once))
            };
            let ((jobs, next), at_once) = match looked {
                Ok(looked) => looked,
                Err(refusal) => {
                    held.ghost = None;
                    return Ok(refusal.into());
                }
            };
            if !jobs.is_empty() || at_once || Instant::now() >= over {
                held.ghost = None;
                return Ok(Answer::Body(serde_json::json!({ "jobs": jobs })));
            }
            if let Some((Kill { status, .. }, at)) = kill
                && Instant::now() >= at
            {
                held.ghost = None;
                return match status {
                    Some(status) => Ok(refuse(status, "Gateway", "the worker took too long").into()),
                    None => Err(Broken("connection reset")),
                };
            }
            let due =
                next.map(|next| Instant::now() + Duration::try_from(next.duration_since(now)).unwrap_or_default());
            let wake = [Some(over), kill.map(|(_, at)| at), due].into_iter().flatten().min().unwrap_or(over);
            tokio::select! {
                biased;
                _ = changes.changed() => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    fn note(&self, asked: &Asked, cluster: Option<String>, body: Bytes, committed: bool, status: u16) {
        let at = self.now();
        let mut state = self.lock();
        *state.counters.entry((asked.endpoint, status)).or_default() += 1;
        let secret = matches!(asked.endpoint, Endpoint::Register | Endpoint::Rotate);
        let heartbeats = asked.endpoint == Endpoint::Events && super::events::only_heartbeats(&body);
        if asked.endpoint == Endpoint::Poll || heartbeats {
            return;
        }
        let body = if secret { Bytes::new() } else { body };
        let (job, peer) = (asked.job.clone(), asked.peer.clone());
        state.posts.push(Post { at, peer, endpoint: asked.endpoint, cluster, job, body, committed, status });
    }
}

/// A poll while it is held: dropped before it was answered, it stays behind as a ghost.
struct Held<'a> {
    odoo: &'a Odoo,
    ghost: Option<Ghost>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(ghost) = self.ghost.take() {
            let mut state = self.odoo.lock();
            if state.dials.ghost_polls {
                state.ghosts.push(ghost);
            }
        }
    }
}

impl State {
    /// The rule that strikes this request, counted down.
    fn strike(&mut self, endpoint: Endpoint) -> Option<Does> {
        for rule in self.dials.rules.iter_mut().filter(|rule| rule.endpoint == endpoint) {
            if rule.times == Some(0) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.times = rule.times.map(|times| times - 1);
            return Some(rule.does);
        }
        None
    }
}

fn route(method: &Method, tail: &str) -> Result<(Endpoint, Option<String>), Refusal> {
    let parts: Vec<&str> = tail.split('/').collect();
    let (wanted, endpoint, job) = match parts[..] {
        ["jobs"] => (Method::GET, Endpoint::Poll, None),
        ["jobs", job, "ack"] => (Method::POST, Endpoint::Ack, Some(job)),
        ["jobs", job, "status"] => (Method::POST, Endpoint::Status, Some(job)),
        ["jobs", job, "result"] => (Method::POST, Endpoint::Result, Some(job)),
        ["events"] => (Method::POST, Endpoint::Events, None),
        ["register"] => (Method::POST, Endpoint::Register, None),
        ["credentials", "rotate"] => (Method::POST, Endpoint::Rotate, None),
        ["cluster", "decommission"] => (Method::POST, Endpoint::Decommission, None),
        _ => return Err(refuse(404, "UnknownEndpoint", format!("there is no {PATH}{tail}"))),
    };
    if *method != wanted {
        return Err(refuse(405, "MethodNotAllowed", format!("{PATH}{tail} takes {wanted}")));
    }
    let decode = |job: &str| percent_decode_str(job).decode_utf8().map(String::from);
    let job = job.map(decode).transpose().map_err(|_| refuse(400, "InvalidJobId", "the job id is not UTF-8"))?;
    Ok((endpoint, job))
}

fn text(parts: &Parts, name: &str) -> Option<String> {
    parts.headers.get(name)?.to_str().ok().map(str::to_string)
}

/// The media types of contract §17.1.
fn media(parts: &Parts, body: &Bytes) -> Result<(), Refusal> {
    let is = |value: &str, wanted: &[&str]| {
        let mut ranges = value.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
        ranges.any(|range| wanted.iter().any(|wanted| range.eq_ignore_ascii_case(wanted)))
    };
    let accept = text(parts, "accept").unwrap_or_default();
    if !is(&accept, &[MEDIA_TYPE, "application/json", "*/*"]) {
        return Err(refuse(406, "NotAcceptable", format!("this server speaks {MEDIA_TYPE}")));
    }
    let content = text(parts, "content-type").unwrap_or_default();
    if !body.is_empty() && !is(&content, &[MEDIA_TYPE]) {
        return Err(refuse(415, "UnsupportedMediaType", format!("this server reads {MEDIA_TYPE}")));
    }
    Ok(())
}

/// Cluster and wait of a poll.
fn asked_for(query: &str) -> Result<(String, Duration), Refusal> {
    let value = |name: &str| {
        let pair = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        pair.map(|value| percent_decode_str(value).decode_utf8_lossy().into_owned())
    };
    let cluster = value("cluster").ok_or_else(|| refuse(400, "InvalidPoll", "cluster is missing"))?;
    let wait = value("wait").map_or(Some(30), |wait| wait.parse().ok());
    match wait {
        Some(wait @ 1..=300) => Ok((cluster, Duration::from_secs(wait))),
        _ => Err(refuse(400, "InvalidPoll", "wait must be whole seconds from 1 to 300")),
    }
}

/// The body proof, as far as the dial asks.
fn proven(state: &State, parts: &Parts, bearer: &str, body: &Bytes, now: Timestamp) -> Result<(), Refusal> {
    let wrong = |why: &str| Err(refuse(401, "BodyProofInvalid", why));
    let (stamp, signature) = match (text(parts, "x-vws-timestamp"), text(parts, "x-vws-signature")) {
        _ if state.dials.proof == Proof::Ignored => return Ok(()),
        (None, None) if state.dials.proof == Proof::WhenPresent => return Ok(()),
        (Some(stamp), Some(signature)) => (stamp, signature),
        _ => return wrong("X-VWS-Timestamp and X-VWS-Signature belong together"),
    };
    if proof::expected(bearer, parts.method.as_str(), parts.uri.path(), &stamp, body) != signature {
        return wrong("the signature does not belong to this request");
    }
    let off = stamp.parse::<i64>().ok().map(|seconds| seconds.abs_diff(now.as_second()));
    match (state.dials.proof_window, off) {
        (_, None) => wrong("the timestamp is no number"),
        (Some(window), Some(off)) if off > window => wrong("the timestamp is too far from now"),
        _ => Ok(()),
    }
}
