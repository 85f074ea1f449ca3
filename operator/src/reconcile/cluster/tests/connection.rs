//! `Connected`, `Disconnected`, the heartbeat and its stamp, the other Clusters (contract §14, §16.3, §21).

use std::time::Duration;

use serde_json::json;

use super::super::Offered;
use super::super::fixtures::{Case, MINUTE, down, told};
use crate::api::cluster::ConnectivityMode;
use crate::api::condition::{Status, find};
use crate::cluster_api::Object;
use crate::protocol::Trouble;
use crate::reconcile::Effect;
use crate::reconcile::link::Standing;
use crate::reconcile::status::conditions;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn contact_is_lost_after_90_seconds_and_a_disconnection_is_5_minutes() {
    Case::connected().silent(seconds(89)).check(&[], &["Connected=T/RoundTripOK"]);
    let lost = Case::connected().silent(seconds(90));
    let stands = [
        "Connected=F/ControlPlaneUnreachable",
        "Disconnected=F/Connected",
        "Authenticated=T/CredentialAccepted",
        "Disconnected",
    ];
    lost.check(&["status", "event ConnectivityLost"], &stands);
    lost.clone().then().silent(seconds(299)).check(&[], &stands);
    let gone = lost.then().silent(seconds(300));
    gone.check(&["status"], &["Disconnected=T/NoRecentRoundTrip"]);
    let back = gone.then().contact().seen(|seen| (seen.held, seen.trouble) = (Some(seconds(59)), None));
    back.check(&["status"], &["Connected=T/RoundTripOK", "Disconnected=T/NoRecentRoundTrip", "Connected"]);
    back.then().contact().check(&["status"], &["Disconnected=F/Connected"]);
}

#[test]
fn a_process_that_keeps_restarting_notices_an_outage_all_the_same() {
    let fresh = Case::connected().seen(|seen| {
        (seen.answered, seen.silent, seen.standing) = (None, seconds(5), Standing::Untried);
    });
    fresh.check(&[], &["Connected=T/RoundTripOK"]);
    let old = fresh.cluster(|cluster| cluster["status"]["lastHeartbeat"] = json!("2026-01-10T11:50:00Z"));
    old.check(&[], &["Connected=T/RoundTripOK"]);
    old.seen(|seen| seen.trouble = Some(down()))
        .check(&["status", "event ConnectivityLost"], &["Disconnected=T/NoRecentRoundTrip"]);
}

#[test]
fn a_failing_certificate_is_named_and_other_failures_have_steady_words() {
    let fails = |trouble: Trouble| {
        Case::connected().silent(2 * MINUTE).seen(|seen| seen.trouble = Some(trouble)).message("Connected")
    };
    let tls = Trouble::Unreachable { why: "invalid peer certificate: Expired".into(), late: false };
    assert!(fails(tls).contains("certificate: Expired"));
    let reset = Trouble::Unreachable { why: "connection reset by 10.0.0.7:443".into(), late: true };
    assert_eq!(fails(reset), fails(down()));
    assert!(fails(Trouble::Misconfigured { why: "it answers 303".into() }).contains("not our control plane"));
}

#[test]
fn a_secret_that_the_connection_lacks_is_named() {
    let mut lost = Case::connected().silent(2 * MINUTE);
    lost.snapshot.connection.missing = Some("Secret x with keys tls.crt and tls.key".into());
    assert!(lost.message("Connected").ends_with("; Secret x with keys tls.crt and tls.key is missing"));
}

#[test]
fn modes_without_an_endpoint_expect_nothing() {
    for mode in [ConnectivityMode::Push, ConnectivityMode::Gitops] {
        let case = Case::new().offered(Offered::Nothing).mode(mode, false);
        case.check(&["status"], &["Connected=U/EndpointNotConfigured", "Connected"]);
        let cluster = case.then().snapshot.connection.cluster.unwrap();
        for type_ in ["Disconnected", "Authenticated"] {
            assert!(find(conditions(&cluster), type_).is_none(), "{mode:?} {type_}");
        }
    }
    let silent = |mode| Case::connected().mode(mode, true).silent(6 * MINUTE);
    silent(ConnectivityMode::Push).check(&["status", "event ConnectivityLost"], &["Disconnected=T/NoRecentRoundTrip"]);
    silent(ConnectivityMode::Gitops).check(&["status", "event ConnectivityLost"], &["Disconnected=F/Connected"]);
    let switched = Case::connected().silent(6 * MINUTE).then().mode(ConnectivityMode::Gitops, false);
    switched.check(&["status"], &["Connected=U/EndpointNotConfigured", "Disconnected=F/Connected", "Connected"]);
}

#[test]
fn heartbeats_are_due_and_their_stamp_is_written_once_a_minute() {
    let beats = |case: Case| told(&case.plan()).contains(&"heartbeat".to_string());
    let beaten = |ago| Case::connected().seen(|seen| seen.beaten = ago);
    assert!(beats(beaten(None)) && beats(beaten(Some(seconds(30)))));
    assert!(!beats(beaten(Some(seconds(29)))));
    assert!(!beats(beaten(None).seen(|seen| seen.wait = seconds(1))), "posts have to wait");
    let forbidden = Trouble::Forbidden { ours: false };
    let standing = |standing, ago| {
        beats(beaten(Some(ago)).seen(|seen| (seen.standing, seen.trouble) = (standing, Some(forbidden.clone()))))
    };
    assert!(!standing(Standing::Rejected, seconds(599)) && standing(Standing::Rejected, seconds(600)));
    assert!(standing(Standing::Suspected, seconds(2)), "a strange 403 is asked about at once");

    let stamped = |at: &str| Case::connected().cluster(|cluster| cluster["status"]["lastHeartbeat"] = json!(at));
    stamped("2026-01-10T11:59:00Z").check(&[], &[]);
    let plan = stamped("2026-01-10T11:58:59Z").check(&["status"], &[]);
    let Effect::PatchStatus { status, .. } = &plan.effects[0] else { panic!("{plan:?}") };
    assert_eq!(status["lastHeartbeat"], "2026-01-10T11:59:59Z");
    stamped("2026-01-11T12:00:00Z").check(&["status"], &[]);
}

#[test]
fn a_rejected_credential_says_so_and_why() {
    let rejected = |case: Case| {
        case.seen(|seen| (seen.standing, seen.trouble) = (Standing::Rejected, Some(Trouble::Unauthorized)))
    };
    rejected(Case::connected()).check(&["status"], &["Authenticated=F/CredentialRejected", "Error"]);
    let expired =
        Case::connected().credentials(|credentials| credentials.expires_at = Some("2026-01-10T11:59:00Z".into()));
    rejected(expired).check(&["status"], &["Authenticated=F/CredentialExpired", "Error"]);
    for standing in [Standing::Untried, Standing::Suspected] {
        Case::connected().seen(|seen| seen.standing = standing).check(&[], &["Authenticated=T/CredentialAccepted"]);
    }
}

#[test]
fn only_the_oldest_cluster_counts() {
    let mut case = Case::connected();
    let other = json!({"apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Cluster",
        "metadata": {"name": "second", "uid": "u-2", "generation": 1, "resourceVersion": "11"}, "spec": {}});
    case.snapshot.connection.others = vec![Object(other)];
    let plan = case.plan();
    assert_eq!(told(&plan), ["status of second"]);
    let Effect::PatchStatus { status, .. } = &plan.effects[0] else { panic!("{plan:?}") };
    assert_eq!((&status["phase"], &status["conditions"][0]["reason"]), (&json!("Error"), &json!("NotSingleton")));
    assert_eq!(status["conditions"][0]["status"], Status::False.as_str());
    case.snapshot.connection.others[0].0["status"] = status.clone();
    assert!(told(&case.plan()).is_empty());
    case.snapshot.connection.cluster = None;
    case.snapshot.connection.others.clear();
    assert!(told(&case.plan()).is_empty(), "without a Cluster nothing happens");
}

#[test]
fn remarks_about_the_spec_are_made_once_per_generation() {
    let mut plain = Case::connected().spec("controlPlaneEndpoint", json!("http://cp.example.org"));
    plain.snapshot.connection.endpoint = Some("http://cp.example.org".into());
    plain.check(&["status", "event PlainHttpEndpoint"], &[]);
    plain.then().check(&[], &[]);
    let alias = Case::connected().cluster(|cluster| {
        cluster["spec"]["controlPlaneBaseUrl"] = cluster["spec"]["controlPlaneEndpoint"].take();
        cluster["spec"].as_object_mut().unwrap().remove("controlPlaneEndpoint");
        cluster["metadata"]["generation"] = json!(2);
    });
    alias.check(&["status", "event DeprecatedField"], &[]);
}

#[test]
fn a_server_that_refuses_our_writes_does_not_silence_the_status() {
    let mut case = Case::new().secret(&[("token", "t1"), ("cluster-id", "c1")]);
    case.check(&["patch Cluster spec.clusterId"], &[]);
    case.snapshot.refused = true;
    case.check(&["status", "heartbeat"], &[]);
}
