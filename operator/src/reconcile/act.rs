//! The one executor: performs a plan's effects in order, each under its own permit, and stops at the first failure.
//!
//! It returns no data. If a later effect needs what an earlier one produced, it belongs to the next pass.

use std::sync::Arc;

use super::cluster::exchange;
use super::link::Link;
use super::permit::{NotLeader, Permit, Permits};
use super::{Effect, Plan};
use crate::cluster_api::{ApiError, ClusterApi};
use crate::protocol::Trouble;
use crate::transport::Transport;

/// Why a pass did not end well. The effect named here was not confirmed; those after it were not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A read of observe failed: nothing was decided.
    #[error("observation failed: {0}")]
    Observe(#[source] ApiError),
    /// An effect was not confirmed.
    #[error("{effect} failed: {error}")]
    Effect {
        /// The effect in a few words: verb and object.
        effect: String,
        /// What the server said.
        #[source]
        error: ApiError,
    },
    /// A call to the control plane was not answered as asked.
    #[error("{call}: {trouble}")]
    Call {
        /// The call in a word.
        call: &'static str,
        /// What the caller can do about it.
        #[source]
        trouble: Trouble,
    },
    /// The tenure ended before an effect.
    #[error("{0}")]
    NotLeader(#[from] NotLeader),
    /// The pass took longer than its bound; the request in flight may have been carried out.
    #[error("the pass took too long")]
    Overtime,
}

/// The outside worlds and the right to act on them.
pub struct Out<A, T> {
    /// The cluster.
    pub api: Arc<A>,
    /// The control plane.
    pub link: Arc<Link<A, T>>,
    /// Leadership.
    pub permits: Permits,
}

impl<A, T> Clone for Out<A, T> {
    fn clone(&self) -> Self {
        Self { api: Arc::clone(&self.api), link: Arc::clone(&self.link), permits: self.permits.clone() }
    }
}

/// Performs `plan`.
///
/// # Errors
/// The first effect that was not confirmed. A failed Event is logged and is not an error.
pub async fn act<A: ClusterApi, T: Transport>(out: &Out<A, T>, plan: &Plan) -> Result<(), Failure> {
    for effect in &plan.effects {
        let permit = out.permits.permit()?;
        match perform(out, permit, effect).await {
            // External writes are told at info (contract §23.2): what was written, and the decision behind it.
            Ok(()) => tracing::info!(effect = %describe(effect), why = %plan.why, "written"),
            Err(error) if matches!(effect, Effect::Emit(_)) => {
                tracing::debug!(effect = %describe(effect), %error, "event not written");
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

async fn perform<A: ClusterApi, T: Transport>(
    out: &Out<A, T>,
    _permit: Permit,
    effect: &Effect,
) -> Result<(), Failure> {
    let api = &*out.api;
    let done = match effect {
        Effect::Create(object) | Effect::Emit(object) => api.create(object).await.map(drop),
        Effect::Update(object) => api.update(object).await.map(drop),
        Effect::Apply { object, manager, force } => api.apply(object, *manager, *force).await.map(drop),
        Effect::Patch { key, uid, merge } => api.patch(key, uid, merge).await.map(drop),
        Effect::PatchStatus { key, uid, version, status } => api.patch_status(key, uid, version.clone(), status).await,
        Effect::Delete { key, only_if, how } => api.delete(key, only_if, *how).await,
        Effect::Call(call) => {
            let answered = out.link.call(call).await.map(drop);
            return answered.map_err(|trouble| Failure::Call { call: call.name(), trouble });
        }
        Effect::Register(registration) => return exchange::register(out, registration).await,
        Effect::Rotate(rotation) => return exchange::rotate(out, rotation).await,
        Effect::Decommission => return exchange::decommission(out).await,
    };
    done.map_err(|error| Failure::Effect { effect: describe(effect), error })
}

/// The effect in a few words, without content.
pub fn describe(effect: &Effect) -> String {
    let of = |object: &crate::cluster_api::Object| match object.namespace() {
        Some(namespace) => format!("{} {namespace}/{}", object.kind(), object.name()),
        None => format!("{} {}", object.kind(), object.name()),
    };
    match effect {
        Effect::Create(object) => format!("create {}", of(object)),
        Effect::Update(object) => format!("update {}", of(object)),
        Effect::Apply { object, .. } => format!("apply {}", of(object)),
        Effect::Patch { key, .. } => format!("patch {key}"),
        Effect::PatchStatus { key, .. } => format!("status of {key}"),
        Effect::Delete { key, .. } => format!("delete {key}"),
        Effect::Emit(object) => format!("emit {}", of(object)),
        Effect::Call(call) => call.name().to_string(),
        Effect::Register(_) => "register".into(),
        Effect::Rotate(_) => "rotate".into(),
        Effect::Decommission => "decommission".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mockall::Sequence;
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;
    use crate::cluster_api::{Key, Kind, Manager, MockClusterApi, Object, Preconditions, Propagation, Uid, Version};
    use crate::protocol::Call;
    use crate::reconcile::connection::SecretPlace;
    use crate::transport::MockTransport;

    fn kind() -> Kind {
        Kind::namespaced("helm.toolkit.fluxcd.io", "v2", "HelmRelease", "helmreleases")
    }

    fn key(name: &str) -> Key {
        Key::namespaced(&kind(), "shop", name)
    }

    fn object(name: &str) -> Object {
        Object(json!({"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease",
            "metadata": {"name": name, "namespace": "shop"}}))
    }

    fn apply(name: &str) -> Effect {
        Effect::Apply { object: object(name), manager: Manager::Operator, force: false }
    }

    fn plan(effects: Vec<Effect>) -> Plan {
        Plan { effects, wake: None, why: "test".into() }
    }

    fn out(api: MockClusterApi, permits: Permits) -> Out<MockClusterApi, MockTransport> {
        let api = Arc::new(api);
        let place = SecretPlace { namespace: "system".into(), name: "credentials".into() };
        let link = Link::new(Arc::clone(&api), MockTransport::new(), place, || jiff::Timestamp::UNIX_EPOCH);
        Out { api, link: Arc::new(link), permits }
    }

    fn conflict() -> ApiError {
        ApiError::Conflict { why: "x".into() }
    }

    #[tokio::test]
    async fn every_effect_is_one_call_with_its_arguments_in_order() {
        let mut api = MockClusterApi::new();
        let mut order = Sequence::new();
        api.expect_create().withf(|object| object.name() == "a").times(1).in_sequence(&mut order).returning(|object| {
            let object = object.clone();
            Box::pin(async { Ok(object) })
        });
        api.expect_apply()
            .withf(|object, manager, force| object.name() == "b" && *manager == Manager::Agent && *force)
            .times(1)
            .in_sequence(&mut order)
            .returning(|object, _, _| {
                let object = object.clone();
                Box::pin(async { Ok(object) })
            });
        api.expect_patch()
            .withf(|of, uid, merge| of.name == "c" && uid.0 == "u" && *merge == json!({"spec": {"x": 1}}))
            .times(1)
            .in_sequence(&mut order)
            .returning(|_, _, _| Box::pin(async { Ok(Object(json!({}))) }));
        api.expect_patch_status()
            .withf(|of, uid, version, status| {
                of.name == "d"
                    && uid.0 == "u"
                    && *version == Some(Version("7".into()))
                    && *status == json!({"phase": "X"})
            })
            .times(1)
            .in_sequence(&mut order)
            .returning(|_, _, _, _| Box::pin(async { Ok(()) }));
        api.expect_delete()
            .withf(|of, only_if, how| {
                of.name == "e" && only_if.uid == Some(Uid("u".into())) && *how == Propagation::Foreground
            })
            .times(1)
            .in_sequence(&mut order)
            .returning(|_, _, _| Box::pin(async { Ok(()) }));
        let effects = vec![
            Effect::Create(object("a")),
            Effect::Apply { object: object("b"), manager: Manager::Agent, force: true },
            Effect::Patch { key: key("c"), uid: Uid("u".into()), merge: json!({"spec": {"x": 1}}) },
            Effect::PatchStatus {
                key: key("d"),
                uid: Uid("u".into()),
                version: Some(Version("7".into())),
                status: json!({"phase": "X"}),
            },
            Effect::Delete {
                key: key("e"),
                only_if: Preconditions { uid: Some(Uid("u".into())), version: None },
                how: Propagation::Foreground,
            },
        ];
        assert_eq!(act(&out(api, Permits::unlimited()), &plan(effects)).await, Ok(()));
    }

    #[tokio::test]
    async fn the_first_failure_ends_the_pass_and_is_returned() {
        for error in [
            conflict(),
            ApiError::Exists,
            ApiError::Refused { why: "x".into() },
            ApiError::Forbidden { what: "x".into() },
            ApiError::Unserved { kind: "x".into() },
            ApiError::Missing,
            ApiError::Throttled { after: Duration::from_secs(1) },
            ApiError::Unknown { why: "x".into() },
        ] {
            let mut api = MockClusterApi::new();
            let answer = error.clone();
            let mut calls = 0;
            api.expect_apply().times(2).returning(move |object, _, _| {
                calls += 1;
                let result = if calls == 2 { Err(answer.clone()) } else { Ok(object.clone()) };
                Box::pin(async { result })
            });
            let result = act(&out(api, Permits::unlimited()), &plan(vec![apply("a"), apply("b"), apply("c")])).await;
            assert_eq!(result, Err(Failure::Effect { effect: "apply HelmRelease shop/b".into(), error }));
        }
    }

    #[tokio::test]
    async fn an_event_that_fails_does_not_end_the_pass() {
        let mut api = MockClusterApi::new();
        api.expect_create().times(1).returning(|_| Box::pin(async { Err(ApiError::Exists) }));
        api.expect_apply().times(1).returning(|object, _, _| {
            let object = object.clone();
            Box::pin(async { Ok(object) })
        });
        assert_eq!(
            act(&out(api, Permits::unlimited()), &plan(vec![Effect::Emit(object("e")), apply("a")])).await,
            Ok(())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_permit_is_asked_for_before_each_effect() {
        let permits = Permits::default();
        permits.extend(Instant::now() + Duration::from_secs(10));
        let mut api = MockClusterApi::new();
        // The first call takes longer than the tenure: the second effect must not be sent.
        api.expect_apply().times(1).returning(|object, _, _| {
            let object = object.clone();
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(11)).await;
                Ok(object)
            })
        });
        let result = act(&out(api, permits), &plan(vec![apply("a"), apply("b")])).await;
        assert_eq!(result, Err(Failure::NotLeader(NotLeader)));
    }

    #[tokio::test]
    async fn without_leadership_nothing_is_sent_not_even_an_event() {
        let out = out(MockClusterApi::new(), Permits::default());
        for effect in [apply("a"), Effect::Emit(object("e")), Effect::Call(Call::Decommission)] {
            assert_eq!(act(&out, &plan(vec![effect])).await, Err(Failure::NotLeader(NotLeader)));
        }
        assert_eq!(act(&out, &Plan::idle("nothing to do")).await, Ok(()));
    }
}
