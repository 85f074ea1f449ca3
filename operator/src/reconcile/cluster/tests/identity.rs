//! Registration, adoption and rotation (contract §15.1 to §15.3).

use std::time::Duration;

use serde_json::json;

use super::super::Offered;
use super::super::fixtures::{Case, MINUTE, TOKEN, down, of, told};
use crate::api::annotation;
use crate::api::secret::SecretText;
use crate::protocol::Trouble;
use crate::reconcile::Effect;
use crate::reconcile::link::Standing;

fn pending() -> String {
    format!("{}-{}", of(), "r".repeat(32))
}

fn registering() -> Case {
    Case::new().secret(&[("pending-registration-id", &pending())])
}

#[test]
fn a_registration_stores_its_record_first_and_is_found_in_the_secret_afterwards() {
    let stands = ["Connected=F/RegistrationPending", "Authenticated=F/CredentialMissing", "Registering"];
    let plan = Case::new().check(&["status", "create Secret"], &stands);
    let Some(Effect::Create(secret)) = plan.effects.last() else { panic!("{plan:?}") };
    assert_eq!(secret.0["data"].as_object().map(serde_json::Map::len), Some(1), "the record and nothing else");
    Case::new().secret(&[("note", "kept")]).check(&["status", "patch Secret data.pending-registration-id"], &stands);
    let plan = registering().then().check(&["register"], &stands);
    let printed = format!("{plan:?} {}", serde_json::to_string(&plan).unwrap());
    assert!(!printed.contains(TOKEN), "{printed}");
    // With another token it is another registration.
    let other = registering().offered(Offered::Token(SecretText::new("vwksp-reg-2")));
    other.check(&["status", "patch Secret data.pending-registration-id"], &stands);

    let stored = registering().secret(&[
        ("token", "t1"),
        ("cluster-id", "c1"),
        ("registered-with", &of()),
        ("token-issued-at", "2026-01-10T12:00:00Z"),
        ("organization-id", "7"),
    ]);
    let stored = stored.registered(Ok(()), Duration::ZERO).seen(|seen| seen.answered = Some(Duration::ZERO));
    let stands = [
        "Connected=T/ControlPlaneReachable",
        "Authenticated=T/RegistrationComplete",
        "Disconnected=F/Connected",
        "Connected",
    ];
    stored.check(&["patch Cluster spec.clusterId"], &[]);
    let settled = stored.then();
    let plan = settled.check(&["status", "event ConnectivityConnected", "heartbeat"], &stands);
    let Effect::PatchStatus { status, .. } = &plan.effects[0] else { panic!("{plan:?}") };
    assert_eq!(status["observedToken"], json!(of()));
    assert_eq!(status["credentialsSecretRef"], json!({"name": "credentials", "namespace": "system"}));
    assert_eq!(status["organizationId"], "7");
    let credential = &status["credentialStatus"];
    assert_eq!(
        (&credential["registeredAt"], &credential["registrationTokenConsumed"]),
        (&json!("2026-01-10T12:00:00Z"), &json!(true))
    );
}

#[test]
fn every_row_of_the_answer_table() {
    let row = |answer: Trouble, wait: Duration, stands: &[&str]| {
        let case = registering().registered(Err(answer), wait).then();
        let effects: &[&str] = if wait.is_zero() { &["register"] } else { &[] };
        case.check(effects, stands);
    };
    let invalid = ["Connected=F/RegistrationTokenInvalid", "Authenticated=F/RegistrationFailed", "Error"];
    let refused = ["Connected=F/RegistrationPending", "Authenticated=F/RegistrationFailed", "Error"];
    let trying = ["Connected=F/RegistrationPending", "Authenticated=F/CredentialMissing", "Registering"];
    row(Trouble::Unauthorized, MINUTE, &invalid);
    row(Trouble::Conflict, Duration::ZERO, &invalid);
    row(Trouble::Forbidden { ours: true }, MINUTE, &invalid);
    row(Trouble::Conflict, MINUTE, &invalid);
    row(Trouble::Refused { status: 422, message: "no".into() }, MINUTE, &refused);
    row(Trouble::NotFound, MINUTE, &refused);
    row(Trouble::Forbidden { ours: false }, MINUTE, &trying);
    row(Trouble::Throttled { after: None }, MINUTE, &trying);
    row(down(), MINUTE, &trying);
    row(Trouble::Misconfigured { why: "it answers 303".into() }, MINUTE, &trying);
    row(down(), Duration::ZERO, &trying);
    let (refused, forced) =
        (super::super::registration::delays(&Trouble::Conflict), super::super::registration::delays(&down()));
    assert_eq!((refused.0, forced), (10 * MINUTE, (MINUTE / 2, 10 * MINUTE)));
}

#[test]
fn a_refusal_after_an_interrupted_attempt_says_exactly_that() {
    let refused = registering().registered(Err(Trouble::Conflict), MINUTE);
    assert!(!refused.message("Authenticated").contains("earlier attempt"));
    let mut lost = refused.clone();
    lost.snapshot.attempts.registration.as_mut().unwrap().unanswered = true;
    let mut found = refused;
    found.snapshot.given.found_pending = Some(pending());
    for case in [lost, found] {
        let message = case.message("Authenticated");
        assert!(
            message.contains("an earlier attempt may have used it") && message.contains("issue a new token"),
            "{message}"
        );
    }
}

#[test]
fn what_is_missing_is_named_and_changes_nothing_of_a_registered_cluster() {
    let missing = Offered::Missing("there is no Secret registration".into());
    let row = |case: Case, stands: &[&str]| case.check(&["status"], stands);
    row(
        Case::new().offered(missing.clone()),
        &["Connected=F/CredentialMissing", "Authenticated=F/TokenSecretMissing", "Pending"],
    );
    row(
        Case::new().offered(Offered::Nothing),
        &["Connected=F/CredentialMissing", "Authenticated=F/CredentialMissing", "Pending"],
    );
    let registered = Case::connected().offered(missing);
    row(registered.clone(), &["Connected=T/RoundTripOK", "Authenticated=T/CredentialAccepted", "Connected"]);
    assert!(registered.message("Authenticated").contains("there is no Secret registration"));
    Case::connected().offered(Offered::Nothing).check(&[], &["Authenticated=T/CredentialAccepted"]);
}

#[test]
fn credentials_of_an_older_agent_are_taken_over_without_a_call() {
    let legacy = [("odoo-base-url", "https://cp.example.org"), ("cluster-id", "c1"), ("token", "t1")];
    let case = Case::new().secret(&legacy);
    case.check(&["patch Cluster spec.clusterId"], &[]);
    let plan = case.then().check(&["status", "heartbeat"], &[]);
    let Effect::PatchStatus { status, .. } = &plan.effects[0] else { panic!("{plan:?}") };
    assert_eq!(status["observedToken"], json!(of()), "only the fingerprint is recorded");
    let owned = Case::connected().credentials(|credentials| credentials.owned = true);
    owned.check(&["patch Secret -metadata.ownerReferences"], &[]);
}

#[test]
fn a_changed_token_or_the_annotation_asks_for_a_new_exchange() {
    let changed = Case::connected().offered(Offered::Token(SecretText::new("vwksp-reg-2")));
    changed.check(&["patch Secret data.pending-registration-id"], &["Authenticated=T/CredentialAccepted"]);
    for (value, asks) in [("now", true), ("", false), ("false", false)] {
        let case = Case::connected().annotate(annotation::ROTATE_CREDENTIALS, value);
        let effects: &[&str] = if asks { &["patch Secret data.pending-registration-id"] } else { &[] };
        case.check(effects, &[]);
    }
    let forced = Case::connected().annotate(annotation::ROTATE_CREDENTIALS, "now");
    let sent = forced.clone().credentials(|credentials| credentials.pending_registration = Some(pending()));
    let off = format!("patch Cluster -metadata.annotations.{}", annotation::ROTATE_CREDENTIALS);
    sent.check(&["register", &off], &[]);
    // The annotation that a crash left goes without a second exchange.
    forced.clone().registered(Ok(()), Duration::ZERO).check(&[&off], &[]);
    // Refused, and the stored credential works: the token is used up.
    forced.registered(Err(Trouble::Conflict), MINUTE).check(&[&off], &[]);
    let mut refused = changed.registered(Err(Trouble::Conflict), MINUTE);
    refused.snapshot.attempts.registration.as_mut().unwrap().of =
        super::super::fingerprint(&SecretText::new("vwksp-reg-2"));
    refused.check(&["status"], &["Connected=T/RoundTripOK", "Authenticated=T/CredentialAccepted"]);
    // It does not: somebody has to issue another one.
    let stuck = refused.seen(|seen| seen.standing = Standing::Rejected);
    stuck.check(&["status"], &["Connected=F/RegistrationTokenInvalid", "Authenticated=F/RegistrationFailed", "Error"]);
}

#[test]
fn an_inline_token_is_used_and_then_cleared() {
    let inline = |case: Case| case.cluster(|cluster| cluster["spec"]["registrationToken"] = json!(TOKEN));
    inline(Case::new()).check(&["status", "create Secret"], &[]);
    inline(registering()).check(&["status", "register", "patch Cluster -spec.registrationToken"], &[]);
    inline(Case::connected()).check(&["event DeprecatedField", "patch Cluster -spec.registrationToken"], &[]);
}

#[test]
fn a_credential_of_another_identity_is_no_credential() {
    let case = Case::connected().credentials(|credentials| credentials.cluster_id = Some("c2".into()));
    case.clone().check(&["status", "patch Secret data.pending-registration-id"], &["Connected=F/RegistrationPending"]);
    case.offered(Offered::Nothing).check(&["status"], &["Authenticated=F/CredentialMissing"]);
}

fn issued(case: Case, issued: &str) -> Case {
    case.credentials(|credentials| credentials.issued_at = Some(issued.into()))
        .cluster(|cluster| cluster["status"]["credentialStatus"]["registeredAt"] = json!(issued))
}

#[test]
fn every_trigger_of_a_rotation_and_nothing_else() {
    let store = "patch Secret data.pending-rotation-id";
    let rotates = |case: Case, rotates: bool, what: &str| {
        let told = told(&case.then().plan());
        assert_eq!(told.contains(&store.to_string()), rotates, "{what}: {told:?}");
    };
    rotates(Case::connected(), false, "a day old");
    rotates(issued(Case::connected(), "2026-01-04T12:00:00Z"), false, "6 days: before the jitter begins");
    rotates(issued(Case::connected(), "2026-01-02T12:00:00Z"), true, "8 days: after it ended");
    rotates(Case::connected().spec("rotation", json!({"interval": "12h"})), true, "an interval of its own");
    rotates(
        issued(Case::connected(), "2026-01-10T11:59:30Z").spec("rotation", json!({"interval": "1ms"})),
        false,
        "no hot loop",
    );
    let expires =
        |at: &'static str| Case::connected().credentials(|credentials| credentials.expires_at = Some(at.into()));
    rotates(expires("2026-01-11T11:00:00Z"), true, "23 h left");
    rotates(expires("2026-01-11T13:00:00Z"), false, "25 h left");
    rotates(
        expires("2026-01-11T13:00:00Z").seen(|seen| seen.ahead = jiff::SignedDuration::from_hours(2)),
        true,
        "by the server's clock",
    );
    let short = issued(expires("2026-01-10T12:40:00Z"), "2026-01-10T11:40:00Z");
    rotates(short.clone(), false, "a third of a short life");
    rotates(issued(short, "2026-01-10T11:10:00Z"), true, "more than half of it");
    let asked = Case::connected().spec("rotateCredentials", json!(true));
    rotates(asked.clone(), true, "asked for");
    let at = |at: &'static str| {
        asked.clone().cluster(|cluster| cluster["status"]["credentialStatus"]["rotatedAt"] = json!(at))
    };
    rotates(at("2026-01-09T13:00:00Z"), false, "rotated 23 h ago");
    rotates(at("2026-01-09T11:00:00Z"), true, "rotated 25 h ago");
    rotates(Case::connected().seen(|seen| seen.standing = Standing::Questioned), true, "401");
    let taken_over = issued(Case::connected(), "2026-01-02T12:00:00Z").seen(|seen| seen.standing = Standing::Untried);
    rotates(taken_over, false, "not known to work");
    rotates(asked.clone().seen(|seen| seen.standing = Standing::Rejected), false, "rejected: only probes");
    rotates(asked.rotated(Err(down()), MINUTE), false, "it waits");
}

#[test]
fn a_rotation_is_recorded_before_the_token_before_it_goes() {
    let sent = Case::connected().credentials(|credentials| credentials.pending_rotation = Some("o".into()));
    let plan = sent.check(&["rotate"], &[]);
    assert!(!serde_json::to_string(&plan).unwrap().contains("t1"));
    let rotated = Case::connected()
        .spec("rotateCredentials", json!(true))
        .then()
        .credentials(|credentials| {
            credentials.previous = credentials.token.replace(SecretText::new("t2"));
            credentials.issued_at = Some("2026-01-10T12:00:00Z".into());
        })
        .seen(|seen| (seen.standing, seen.beaten) = (Standing::Untried, None));
    rotated.check(&["patch Cluster -spec.rotateCredentials"], &[]);
    let settled = rotated.then();
    let plan =
        settled.check(&["status", "event CredentialRotated", "heartbeat"], &["Authenticated=T/CredentialRotated"]);
    let Effect::PatchStatus { status, .. } = &plan.effects[0] else { panic!("{plan:?}") };
    assert_eq!(status["credentialStatus"]["rotatedAt"], "2026-01-10T12:00:00Z");
    let recorded = settled.then();
    recorded.check(&["heartbeat"], &[]);
    let accepted = recorded.contact();
    accepted.check(&["status", "patch Secret -data.previous-token"], &["Authenticated=T/CredentialAccepted"]);
}

#[test]
fn a_failed_rotation_leaves_the_credential_in_use_until_it_expires() {
    let asked = Case::connected().spec("rotateCredentials", json!(true)).then();
    let failed = asked.rotated(Err(down()), MINUTE);
    failed.check(&["status"], &["Authenticated=F/RotationFailed", "Connected=T/RoundTripOK", "Connected"]);
    let expired = failed.credentials(|credentials| credentials.expires_at = Some("2026-01-10T11:00:00Z".into()));
    expired.check(&["status"], &["Authenticated=F/CredentialExpired", "Error"]);
}
