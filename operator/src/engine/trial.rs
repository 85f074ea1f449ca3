//! Orders and answers for the tests of the engines.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::operation::{Answer, Facts, OperationEngine, Order, Question, Stage, Target};
use crate::api::label;
use crate::api::operation::OperationType;
use crate::cluster_api::{Caps, Key, Object, Scope};
use crate::foreign::pod::{event, pod};

/// Uid of the Operation.
pub(super) const UID: &str = "8f14e45f-ceea-467f-a9d1-1f2c3d4e5f60";

/// The Operation `nightly` on `org-a/files`, with a time limit of two hours.
pub(super) fn order(type_: OperationType, parameters: Value) -> Order {
    Order {
        name: "nightly".into(),
        namespace: "org-a".into(),
        uid: UID.into(),
        type_,
        target: Target { name: "files".into(), uid: "t-1".into(), object: Some(target()) },
        parameters: parameters.as_object().cloned().unwrap_or_default(),
        cluster_id: "c1".into(),
        timeout_seconds: Some(7200),
        velero_namespace: "velero".into(),
        clone_approved: false,
        started: Some(at("2026-01-01T12:00:00Z")),
        outputs: Map::new(),
    }
}

/// `org-a/files` at generation 7.
pub(super) fn target() -> Object {
    Object(json!({
        "apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
        "metadata": {"name": "files", "namespace": "org-a", "uid": "t-1", "resourceVersion": "41", "generation": 7},
        "spec": {
            "appRef": {"catalogId": "nextcloud"},
            "chart": {"sourceType": "oci", "url": "oci://charts.example.org/apps", "name": "nextcloud", "version": "6.6.0"},
            "release": {"name": "files", "namespace": "org-a"},
            "values": {"source": "inline", "inline": {"replicas": 1, "ingress": {"enabled": true}, "list": [1, 2]}},
        },
    }))
}

pub(super) fn at(time: &str) -> jiff::Timestamp {
    time.parse().expect("a time")
}

/// A server with everything the engines can use.
pub(super) fn caps() -> Caps {
    let served = [
        ("batch/jobs", "v1"),
        ("argoproj.io/workflows", "v1alpha1"),
        ("argoproj.io/workflowtemplates", "v1alpha1"),
        ("argoproj.io/clusterworkflowtemplates", "v1alpha1"),
        ("helm.toolkit.fluxcd.io/helmreleases", "v2"),
    ];
    let jobs = ["spec.podFailurePolicy", "spec.podReplacementPolicy"];
    Caps {
        versions: served.iter().map(|(plural, version)| ((*plural).into(), vec![(*version).into()])).collect(),
        fields: BTreeMap::from([("batch/v1/jobs".into(), jobs.iter().map(|path| (*path).into()).collect())]),
        releases: BTreeMap::new(),
    }
}

/// What the asked question is answered with.
pub(super) type World<'a> = &'a dyn Fn(&Question) -> Answer;

/// Asks until nothing new is asked.
pub(super) fn facts(engine: &dyn OperationEngine, stage: Stage, order: &Order, caps: &Caps, world: World<'_>) -> Facts {
    let mut facts = Facts::default();
    for _ in 0..8 {
        let open: Vec<Question> = engine
            .questions(stage, order, caps, &facts)
            .into_iter()
            .filter(|question| !facts.0.contains_key(question))
            .collect();
        if open.is_empty() {
            return facts;
        }
        facts.0.extend(open.into_iter().map(|question| {
            let answer = world(&question);
            (question, answer)
        }));
    }
    panic!("the engine asks for ever");
}

/// Facts of a watch: these pods and these events.
pub(super) fn watched(pods: Vec<Value>, events: Vec<Value>) -> Facts {
    let objects = |list: Vec<Value>| Answer::List(list.into_iter().map(Object).collect());
    let selector = format!("{}={UID}", label::OPERATION);
    let about = Scope {
        fields: "involvedObject.kind=Job,involvedObject.name=nightly-8f14e45f,type=Warning".into(),
        ..Scope::namespace("org-a")
    };
    Facts(BTreeMap::from([
        (Question::List(pod(), Scope::namespace("org-a").labelled(&selector)), objects(pods)),
        (Question::List(event(), about), objects(events)),
    ]))
}

/// A pod of the child `nightly-8f14e45f` whose uid is `child-1`.
pub(super) fn child_pod(kind: &str, name: &str, created: &str, status: Value) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "org-a", "creationTimestamp": created,
            "ownerReferences": [{"kind": kind, "name": "nightly-8f14e45f", "uid": "child-1", "controller": true}],
        },
        "spec": {"containers": [{"name": "runner"}]}, "status": status,
    })
}

/// The key a question names, as text.
pub(super) fn named(question: &Question) -> String {
    match question {
        Question::Object(key) | Question::Keys(key) => key.to_string(),
        Question::List(kind, _) => kind.plural.clone(),
        Question::Hook { secret, hook } => format!("hook {hook} in {}", secret.name),
    }
}

/// Labels every child of [`order`] carries.
pub(super) fn labels() -> Value {
    json!({
        "app.vworkspace.io/application-instance": "files", "app.vworkspace.io/cluster-id": "c1",
        "app.vworkspace.io/managed-by": "vworkspace-operator", "ops.vworkspace.io/operation": UID,
        "ops.vworkspace.io/operation-name": "nightly", "velero.io/exclude-from-backup": "true",
    })
}

/// The owner reference every child of [`order`] carries.
pub(super) fn owner() -> Value {
    json!({
        "apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Operation", "name": "nightly", "uid": UID,
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// The key of the child.
pub(super) fn child_key(engine: &dyn OperationEngine, order: &Order) -> Key {
    engine.child(order, &caps()).expect("its kind is served")
}

mod law {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::operation::Cause;

    /// JSON whose words are those that objects of the engines use, in places where they do not belong.
    fn anything() -> impl Strategy<Value = Value> {
        let words = [
            "",
            "True",
            "Complete",
            "Failed",
            "Running",
            "Suspend",
            "7",
            "8",
            "files",
            "deployed",
            "Job",
            "spec",
            "2026-01-01T12:00:00Z",
            "1/2",
            "ü",
        ];
        let keys = [
            "conditions",
            "type",
            "status",
            "phase",
            "nodes",
            "history",
            "version",
            "name",
            "spec",
            "template",
            "metadata",
            "labels",
            "annotations",
            "containers",
            "env",
            "value",
            "outputs",
            "parameters",
            "ownerReferences",
            "uid",
            "managedFields",
            "f:spec",
            "manager",
            "kind",
            "chart",
            "values",
            "inline",
            "suspend",
            "volumes",
            "state",
            "fieldsV1",
            "operation",
            "containerStatuses",
            "vworkspace.io/last-applied-generation",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-3_i64..3).prop_map(Value::from),
            proptest::sample::select(words.to_vec()).prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 6, move |inner| {
            let key = proptest::sample::select(keys.to_vec()).prop_map(String::from);
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((key, inner), 0..6)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    /// Parameters that some engine takes, with anything inside where they are free, or anything at all.
    fn parameters() -> impl Strategy<Value = Value> {
        prop_oneof![
            anything(),
            Just(json!({"image": "x", "volumes": [{"name": "v", "mountPath": "/v", "pvcName": "files"}]})),
            Just(json!({"hookName": "files"})),
            Just(json!({"template": "files"})),
            proptest::collection::btree_map("[a-c]", anything(), 1..4)
                .prop_map(|patch| json!({"targetVersion": "7.0.0", "valuesPatch": patch})),
        ]
    }

    proptest! {
        /// Whatever others write into their objects or a user into parameters, an engine answers (contract §29.54).
        #[test]
        fn an_engine_answers_whatever_it_is_shown(
            child in anything(), target in anything(), beside in anything(), parameters in parameters(), now in 0_i64..4_000_000_000,
        ) {
            let now = jiff::Timestamp::from_second(now).expect("within range");
            let engines: [&dyn OperationEngine; 4] =
                [&crate::engine::job::Job, &crate::engine::hook::Hook, &crate::engine::workflow::Workflow, &crate::engine::helm::Helm];
            let mut odd = order(OperationType::Migration, parameters);
            // A target with a release, whatever else it holds: without one nothing is asked.
            let mut target = target;
            if target.is_object() {
                target["spec"] = json!({"release": {"name": "files"}, "chart": target["chart"], "values": target["values"]});
            }
            odd.target.object = Some(Object(target));
            let answer = |question: &Question| match question {
                Question::List(..) => Answer::List(vec![Object(beside.clone())]),
                Question::Hook { .. } => Answer::Hook(beside.clone()),
                _ => Answer::Object(Box::new(Object(beside.clone()))),
            };
            let child = Object(child);
            for engine in engines {
                for stage in [Stage::Start, Stage::Watch] {
                    let facts = facts(engine, stage, &odd, &caps(), &answer);
                    let start = engine.render(&odd, &caps(), &facts, now);
                    prop_assert_eq!(&start, &engine.render(&odd, &caps(), &facts, now));
                    let reading = engine.interpret(&odd, &caps(), &child, &facts, now);
                    prop_assert!(reading.message.len() < 16_384);
                    for cause in [Cause::Cancelled, Cause::Timeout, Cause::Finished, Cause::Deleted] {
                        let key = engine.child(&odd, &caps());
                        engine.withdraw(&odd, cause, key.as_ref().map(|key| (key, &child)), &facts, now, now);
                    }
                }
            }
            crate::engine::helm::handed_over(&child);
        }
    }
}
