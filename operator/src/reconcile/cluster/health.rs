//! `ControllersHealthy`, `CRDsRegistered`, `BufferOverflow`, `PayloadSecurity` (contract §16.3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::status::Findings;
use super::survey::Survey;
use super::{Snapshot, time};
use crate::api::cluster::{HelmEngine, Strictness};
use crate::api::condition::{ConditionType, Reason, Status, find};
use crate::api::{Open, VERSION};
use crate::cluster_api::Object;
use crate::reconcile::connection;
use crate::reconcile::status::{Says, conditions};

/// A controller that has not seen a generation for so long is not at work. Flux sees one within seconds, also when it is busy.
const BLIND: SignedDuration = SignedDuration::from_mins(5);
/// An unsigned payload is news for so long.
const UNSIGNED: SignedDuration = SignedDuration::from_hours(24);

/// Conditions and fields that the survey gives.
pub(super) fn findings(
    snapshot: &Snapshot,
    cluster: &Object,
    survey: &Survey,
    now: Timestamp,
    findings: &mut Findings,
) {
    findings.say(ConditionType::ControllersHealthy, controllers(snapshot, survey, now));
    findings.say(ConditionType::CRDsRegistered, definitions(survey));
    findings.say(ConditionType::BufferOverflow, overflow(cluster, survey));
    findings.say(ConditionType::PayloadSecurity, payloads(snapshot, survey, now));
    findings.set("managedNamespaces", namespaces(snapshot, survey));
    findings.set("controlPlaneKeys", keys(survey));
    let recorded = snapshot.settings.recorded_engine.as_deref();
    // Releases that exist stay with the engine that made them (contract §6).
    if recorded.is_none() || (recorded == Some("flux") && survey.releases.is_empty()) {
        let engine = match snapshot.settings.helm().engine {
            Open::Known(HelmEngine::Flux) => "flux".to_string(),
            Open::Known(HelmEngine::Argocd) => "argocd".to_string(),
            Open::Other(other) => other,
        };
        findings.set("helmEngine", json!(engine));
    }
}

/// Controllers whose kinds have to be there. Of those that are there only because their CRDs are, nothing that this operator
/// watches tells more yet, and no object to judge counts as healthy.
fn controllers(snapshot: &Snapshot, survey: &Survey, now: Timestamp) -> Option<Says> {
    let served = &snapshot.settings.caps.versions;
    if served.is_empty() {
        return None;
    }
    let argo = snapshot.settings.engine().is(HelmEngine::Argocd);
    let needed: &[(&str, &str)] = match argo {
        true => &[("Argo CD", "argoproj.io/applications")],
        false => &[
            ("Flux helm-controller", "helm.toolkit.fluxcd.io/helmreleases"),
            ("Flux source-controller", "source.toolkit.fluxcd.io/helmrepositories"),
        ],
    };
    let missing: Vec<&str> =
        needed.iter().filter(|(_, kind)| !served.contains_key(*kind)).map(|(controller, _)| *controller).collect();
    if !missing.is_empty() {
        let message = format!("not installed: {}; applications wait for it", missing.join(", "));
        return Some((Status::False, Reason::ControllerMissing, message));
    }
    let blind = survey.releases.iter().any(|release| {
        release.behind() && time(release.asked.as_deref()).is_some_and(|asked| now.duration_since(asked) >= BLIND)
    });
    if blind {
        let message = "Flux helm-controller has not looked at a changed HelmRelease for 5 minutes";
        return Some((Status::False, Reason::ControllerDegraded, message.into()));
    }
    Some((Status::True, Reason::AllControllersReady, "no controller is missing or silent".into()))
}

/// Declared properties of a schema, as dotted paths with their types.
fn declared(schema: &Value, path: &str, found: &mut BTreeMap<String, String>) {
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        found.insert(path.clone(), below["type"].as_str().unwrap_or_default().into());
        declared(below, &path, found);
    }
    if schema["items"].is_object() {
        declared(&schema["items"], &format!("{path}[]"), found);
    }
}

/// What this version declares, by CRD.
static OURS: LazyLock<BTreeMap<String, BTreeMap<String, String>>> = LazyLock::new(|| {
    let read = |crd: &Value| {
        let mut found = BTreeMap::new();
        declared(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "", &mut found);
        found
    };
    crate::api::crd::all().iter().map(|(name, crd)| (name.clone(), read(crd))).collect()
});

/// Whether the installed CRDs declare every field that this version writes or reads, with its type. What they declare besides
/// belongs to a newer version and does no harm.
fn definitions(survey: &Survey) -> Option<Says> {
    let mut deprecated = false;
    for (name, definition) in &survey.definitions {
        let mismatch = |what: String| {
            let message = format!("{what}: install the CRDs of this release");
            Some((Status::False, Reason::SchemaMismatch, message))
        };
        let Some(definition) = definition else { return mismatch(format!("the CRD {name} is missing")) };
        let versions = definition.0.pointer("/spec/versions").and_then(Value::as_array);
        let version = versions.into_iter().flatten().find(|version| version["name"] == VERSION);
        let Some(version) = version.filter(|version| version["served"] == true) else {
            return mismatch(format!("the CRD {name} does not serve {VERSION}"));
        };
        deprecated |= version["deprecated"] == true;
        let mut installed = BTreeMap::new();
        declared(&version["schema"]["openAPIV3Schema"], "", &mut installed);
        let ours = OURS.get(name).into_iter().flatten();
        if let Some((path, _)) = ours.into_iter().find(|(path, type_)| installed.get(*path) != Some(type_)) {
            return mismatch(format!(
                "the CRD {name} does not declare {} as this version does",
                path.trim_start_matches('.')
            ));
        }
    }
    if deprecated {
        let message = format!("version {VERSION} of our CRDs is deprecated: move objects to the newer version");
        return Some((Status::False, Reason::CRDVersionDeprecated, message));
    }
    Some((Status::True, Reason::SchemaMatches, "the installed CRDs fit this version".into()))
}

fn overflow(cluster: &Object, survey: &Survey) -> Option<Says> {
    if survey.dropped > 0 {
        let message =
            format!("{} transitions could not be kept until they were told; a snapshot follows", survey.dropped);
        return Some((Status::True, Reason::EventBufferFull, message));
    }
    let raised = find(conditions(cluster), "BufferOverflow").is_some();
    raised.then(|| (Status::False, Reason::BufferDrained, "everything is told".into()))
}

fn payloads(snapshot: &Snapshot, survey: &Survey, now: Timestamp) -> Option<Says> {
    let security = snapshot.settings.security();
    let required = security.require_signed_payloads == Some(true) || security.signed_payloads.is(Strictness::Require);
    let warned = security.signed_payloads.is(Strictness::Warn);
    let keyed = keys(survey).as_array().is_some_and(|keys| !keys.is_empty());
    let noted = survey.notes.as_ref().and_then(|notes| notes.get("unsignedPayload")?.as_str());
    let unsigned = time(noted).is_some_and(|at| now.duration_since(at) < UNSIGNED);
    match (required, warned) {
        (true, _) if !keyed => {
            let message = "signatures are required and no key of the control plane is known: all jobs are refused";
            Some((Status::False, Reason::KeyMissing, message.into()))
        }
        (true, _) => Some((Status::True, Reason::Enforced, "jobs must be signed".into())),
        (false, true) if unsigned => {
            let message = "a job without a verifiable signature was taken; require signatures to refuse such jobs";
            Some((Status::False, Reason::UnsignedPayloadAdmitted, message.into()))
        }
        (false, true) if keyed => {
            Some((Status::True, Reason::Enforced, "jobs with a wrong signature are refused".into()))
        }
        _ => None,
    }
}

/// `{kid, thumbprint}` of the trusted keys, sorted.
fn keys(survey: &Survey) -> Value {
    let Some(secret) = &survey.keys else { return json!([]) };
    let names = secret.0.get("data").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name);
    names
        .filter_map(|name| {
            let kid = name.strip_suffix(".jwk")?;
            let jwk: Value = serde_json::from_slice(&connection::value(secret, name)?).ok()?;
            Some(json!({ "kid": kid, "thumbprint": thumbprint(&jwk)? }))
        })
        .collect()
}

/// RFC 7638, of the kinds of key that sign payloads or approvals.
fn thumbprint(jwk: &Value) -> Option<String> {
    let members: &[&str] = match jwk["kty"].as_str()? {
        "OKP" => &["crv", "kty", "x"],
        "EC" => &["crv", "kty", "x", "y"],
        _ => return None,
    };
    let mut text = Vec::new();
    for member in members {
        text.push(format!("{}:{}", json!(member), json!(jwk[*member].as_str()?)));
    }
    Some(URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{{{}}}", text.join(",")))))
}

fn namespaces(snapshot: &Snapshot, survey: &Survey) -> Value {
    let policy = snapshot.spec.policy.as_ref();
    let rules = policy.map(|policy| policy.namespaces.as_slice()).unwrap_or_default();
    survey
        .namespaces
        .iter()
        .map(|(name, level)| {
            let fitting = rules.iter().filter(|rule| fits(&rule.pattern, name));
            let templates: BTreeSet<&String> = fitting.flat_map(|rule| &rule.allowed_operation_templates).collect();
            let mut entry = json!({ "name": name, "podSecurity": level.as_deref().unwrap_or("none") });
            if !templates.is_empty() {
                entry["allowedOperationTemplates"] = json!(templates);
            }
            entry
        })
        .collect()
}

/// Whether a name fits a pattern with `*` and `?`.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.chars().next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            fits(rest, name) || name.chars().next().is_some_and(|first| fits(pattern, &name[first.len_utf8()..]))
        }
        Some(wanted) => name.chars().next().is_some_and(|first| {
            (wanted == '?' || wanted == first) && fits(&pattern[wanted.len_utf8()..], &name[first.len_utf8()..])
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::Case;
    use super::super::survey::Observed;
    use super::*;

    fn survey() -> Survey {
        Survey {
            definitions: crate::api::crd::all().into_iter().map(|(name, crd)| (name, Some(Object(crd)))).collect(),
            ..Survey::default()
        }
    }

    fn case(survey: Survey) -> Case {
        let mut case = Case::connected();
        for kind in ["helm.toolkit.fluxcd.io/helmreleases", "source.toolkit.fluxcd.io/helmrepositories"] {
            case.snapshot.settings.caps.versions.insert(kind.into(), vec!["v1".into()]);
        }
        case.snapshot.survey = Some(survey);
        case
    }

    fn release(observed: i64, asked: &str) -> Survey {
        let observed = Observed { name: "org-a/files".into(), generation: 2, observed, asked: Some(asked.into()) };
        Survey { releases: vec![observed], ..survey() }
    }

    #[test]
    fn controllers_are_missing_silent_or_well() {
        let well = ["ControllersHealthy=T/AllControllersReady", "CRDsRegistered=T/SchemaMatches"];
        case(survey()).check(&["status"], &well);
        case(release(2, "2026-01-10T00:00:00Z")).check(&["status"], &well);
        case(release(1, "2026-01-10T11:56:00Z")).check(&["status"], &well);
        case(release(1, "2026-01-10T11:55:00Z")).check(&["status"], &["ControllersHealthy=F/ControllerDegraded"]);
        let mut without = case(survey());
        without.snapshot.settings.caps.versions.remove("helm.toolkit.fluxcd.io/helmreleases");
        without.check(&["status"], &["ControllersHealthy=F/ControllerMissing"]);
        assert!(without.message("ControllersHealthy").contains("Flux helm-controller"));
    }

    #[test]
    fn crds_may_declare_more_but_not_less_or_otherwise() {
        let changed = |change: fn(&mut Value)| {
            let mut survey = survey();
            let crd = survey.definitions.iter_mut().find(|(name, _)| name.starts_with("clusters")).expect("ours");
            change(&mut crd.1.as_mut().expect("there").0["spec"]["versions"][0]);
            case(survey)
        };
        let spec = "/schema/openAPIV3Schema/properties/spec/properties";
        let more = changed(|version| {
            version.pointer_mut("/schema/openAPIV3Schema/properties/spec/properties").expect("spec")["later"] =
                json!({"type": "string"})
        });
        more.check(&["status"], &["CRDsRegistered=T/SchemaMatches"]);
        let less = changed(|version| {
            let properties = version
                .pointer_mut("/schema/openAPIV3Schema/properties/spec/properties")
                .and_then(Value::as_object_mut);
            properties.expect("spec").remove("rotation");
        });
        less.check(&["status"], &["CRDsRegistered=F/SchemaMismatch"]);
        assert!(less.message("CRDsRegistered").contains("spec.rotation"), "{spec}");
        changed(|version| version["served"] = json!(false)).check(&["status"], &["CRDsRegistered=F/SchemaMismatch"]);
        changed(|version| version["deprecated"] = json!(true))
            .check(&["status"], &["CRDsRegistered=F/CRDVersionDeprecated"]);
        let mut missing = survey();
        missing.definitions[0].1 = None;
        case(missing).check(&["status"], &["CRDsRegistered=F/SchemaMismatch"]);
    }

    #[test]
    fn dropped_transitions_are_counted_until_they_are_healed() {
        let full = case(Survey { dropped: 3, ..survey() });
        full.check(&["status"], &["BufferOverflow=T/EventBufferFull"]);
        assert!(full.message("BufferOverflow").starts_with("3 "));
        let mut healed = full.then();
        healed.snapshot.survey = Some(survey());
        healed.check(&["status"], &["BufferOverflow=F/BufferDrained"]);
    }

    #[test]
    fn payload_security_says_what_is_enforced() {
        use base64::engine::general_purpose::STANDARD;
        // The key of RFC 8037 appendix A.2, and its thumbprint of appendix A.3.
        let jwk = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let keys = Object(json!({"data": {"k1.jwk": STANDARD.encode(jwk), "odd": "!"}}));
        assert_eq!(
            super::keys(&Survey { keys: Some(keys.clone()), ..survey() }),
            json!([{"kid": "k1", "thumbprint": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"}])
        );
        let keyed = || Survey { keys: Some(keys.clone()), ..survey() };
        let noted = |at: &str| Survey { notes: Some(json!({"unsignedPayload": at})), ..keyed() };
        let under = |policy: &str, survey: Survey| {
            let mut case = case(survey);
            case.snapshot.settings.cluster.security = serde_json::from_value(json!({"signedPayloads": policy})).ok();
            case
        };
        under("require", survey()).check(&["status"], &["PayloadSecurity=F/KeyMissing"]);
        under("require", keyed()).check(&["status"], &["PayloadSecurity=T/Enforced"]);
        under("warn", keyed()).check(&["status"], &["PayloadSecurity=T/Enforced"]);
        under("warn", noted("2026-01-10T11:00:00Z")).check(&["status"], &["PayloadSecurity=F/UnsignedPayloadAdmitted"]);
        under("warn", noted("2026-01-08T11:00:00Z")).check(&["status"], &["PayloadSecurity=T/Enforced"]);
    }

    #[test]
    fn namespaces_carry_their_level_and_their_templates() {
        let mut case = case(Survey {
            namespaces: vec![("org-a".into(), Some("restricted".into())), ("org-b".into(), None)],
            ..survey()
        });
        case = case.spec("policy", json!({"namespaces": [{"pattern": "org-?", "allowedOperationTemplates": ["backup"]}, {"pattern": "*-b", "allowedOperationTemplates": ["restore"]}, {"pattern": "x", "allowedOperationTemplates": ["never"]}]}));
        let stored = case.then().snapshot.connection.cluster.expect("there");
        assert_eq!(
            stored.0["status"]["managedNamespaces"],
            json!([
                {"name": "org-a", "podSecurity": "restricted", "allowedOperationTemplates": ["backup"]},
                {"name": "org-b", "podSecurity": "none", "allowedOperationTemplates": ["backup", "restore"]},
            ])
        );
        assert_eq!(stored.0["status"]["helmEngine"], "flux");
    }
}
