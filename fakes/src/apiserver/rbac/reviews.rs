//! Reviews (K4): questions that are answered and not stored.

use serde_json::{Value, json};

use super::attributes::Attributes;
use super::identity::{self, User};
use super::policy;
use crate::apiserver::decode;
use crate::apiserver::errors::{Cause, Outcome, Status};
use crate::apiserver::meta;
use crate::apiserver::reply::{Payload, Reply};
use crate::apiserver::request::{Target, WriteOptions};
use crate::apiserver::resource::Resource;
use crate::apiserver::rest;
use crate::apiserver::server::{Authorization, Pass};
use crate::apiserver::track;

/// The resource under which bodies of another kind are decoded, for subresources with a kind of their own.
pub(super) fn as_kind(resource: &Resource, group: &str, kind: &str) -> Resource {
    Resource { namespaced: resource.namespaced, ..Resource::builtin(group, "v1", kind, &resource.plural, &[]) }
}

/// POST to a collection of reviews; `None` for resources that are stored.
pub(super) fn answer(pass: &mut Pass<'_>, target: &Target) -> Option<Outcome<Reply>> {
    let resource = &target.resource;
    let review: fn(&mut Pass<'_>, &Target, Value) -> Outcome<Value> =
        match (resource.group.as_str(), resource.kind.as_str()) {
            ("authorization.k8s.io", "SelfSubjectAccessReview") => self_access,
            ("authorization.k8s.io", "SubjectAccessReview") => access,
            ("authorization.k8s.io", "LocalSubjectAccessReview") => local_access,
            ("authorization.k8s.io", "SelfSubjectRulesReview") => self_rules,
            ("authentication.k8s.io", "SelfSubjectReview") => self_subject,
            ("authentication.k8s.io", "TokenReview") => token,
            _ => return None,
        };
    Some(reviewed(pass, target, review))
}

fn reviewed(
    pass: &mut Pass<'_>,
    target: &Target,
    review: fn(&mut Pass<'_>, &Target, Value) -> Outcome<Value>,
) -> Outcome<Reply> {
    let options = WriteOptions::parse(pass.request, "CreateOptions", false)?;
    let mut object = decode::object(pass, &target.resource, &options)?;
    if target.resource.namespaced && target.namespace.is_empty() {
        return Err(Status::method_not_allowed());
    }
    if let Some(spec) = object.get_mut("spec") {
        drop_empty_texts(spec);
    }
    track::update(pass, target, None, &mut object, &options);
    review(pass, target, object).map(|object| Reply::new(201, Payload::Json(object)))
}

fn self_access(pass: &mut Pass<'_>, _target: &Target, object: Value) -> Outcome<Value> {
    check(&object, attribute_causes(&object["spec"]))?;
    let user = pass.user.clone();
    Ok(decided(pass, &user, object))
}

fn access(pass: &mut Pass<'_>, _target: &Target, object: Value) -> Outcome<Value> {
    let mut causes = attribute_causes(&object["spec"]);
    causes.extend(user_causes(&object["spec"]));
    check(&object, causes)?;
    let user = user_of(&object["spec"]);
    Ok(decided(pass, &user, object))
}

fn local_access(pass: &mut Pass<'_>, target: &Target, object: Value) -> Outcome<Value> {
    let spec = &object["spec"];
    let found = meta::text(&object, "namespace");
    if !found.is_empty() && found != target.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let mut causes = attribute_causes(spec);
    causes.extend(user_causes(spec));
    let namespace = spec["resourceAttributes"]["namespace"].as_str().unwrap_or_default();
    if !spec["resourceAttributes"].is_null() && namespace != target.namespace {
        causes.push(Cause::invalid(
            "spec.resourceAttributes.namespace",
            &json!(namespace),
            "must match metadata.namespace",
        ));
    }
    if !spec["nonResourceAttributes"].is_null() {
        causes.retain(|cause| cause.field != "spec.nonResourceAttributes");
        causes.push(non_resource_cause(spec, "disallowed on this kind of request"));
    }
    check_causes(causes)?;
    let user = user_of(spec);
    Ok(decided(pass, &user, object))
}

fn non_resource_cause(spec: &Value, detail: &str) -> Cause {
    let attributes = &spec["nonResourceAttributes"];
    let text = |field: &str| attributes[field].as_str().unwrap_or_default();
    // Printed as the internal struct, with Go's field names.
    let shown = json!({ "Path": text("path"), "Verb": text("verb") });
    Cause::new("FieldValueInvalid", "spec.nonResourceAttributes", format!("Invalid value: {shown}: {detail}"))
}

fn attribute_causes(spec: &Value) -> Vec<Cause> {
    match (spec["resourceAttributes"].is_null(), spec["nonResourceAttributes"].is_null()) {
        (true, true) => {
            let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            vec![Cause::invalid("spec.resourceAttributes", &Value::Null, detail)]
        }
        (false, false) => vec![non_resource_cause(spec, "cannot be specified in combination with resourceAttributes")],
        _ => Vec::new(),
    }
}

fn user_causes(spec: &Value) -> Option<Cause> {
    let nobody = spec["user"].as_str().is_none_or(str::is_empty) && spec["groups"].as_array().is_none_or(Vec::is_empty);
    nobody.then(|| Cause::invalid("spec.user", &json!(""), "at least one of user or group must be specified"))
}

/// Reviews have no identity: metadata is empty but for the record of ownership.
fn check(object: &Value, mut causes: Vec<Cause>) -> Outcome<()> {
    let named =
        object["metadata"].as_object().is_some_and(|metadata| metadata.keys().any(|key| key != "managedFields"));
    if named {
        causes.push(Cause::new(
            "FieldValueInvalid",
            "metadata",
            format!("Invalid value: {}: must be empty", object["metadata"]),
        ));
    }
    check_causes(causes)
}

fn check_causes(causes: Vec<Cause>) -> Outcome<()> {
    // The real server leaves the kind out of this message.
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid("authorization.k8s.io", "", "", causes)) }
}

fn user_of(spec: &Value) -> User {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    User {
        name: spec["user"].as_str().unwrap_or_default().to_owned(),
        uid: spec["uid"].as_str().unwrap_or_default().to_owned(),
        groups: texts(&spec["groups"]),
        extra: spec["extra"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, values)| (key.clone(), texts(values)))
            .collect(),
    }
}

fn decided(pass: &Pass<'_>, user: &User, mut object: Value) -> Value {
    let spec = &object["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let resource = &spec["resourceAttributes"];
    let wanted = match spec["nonResourceAttributes"].as_object() {
        Some(attributes) => Attributes {
            verb: text(attributes.get("verb").unwrap_or(&Value::Null)),
            path: Some(text(attributes.get("path").unwrap_or(&Value::Null))),
            ..Attributes::default()
        },
        None => Attributes {
            verb: text(&resource["verb"]),
            group: text(&resource["group"]),
            resource: text(&resource["resource"]),
            subresource: text(&resource["subresource"]),
            namespace: text(&resource["namespace"]),
            name: text(&resource["name"]),
            path: None,
        },
    };
    let (allowed, reason) = match pass.server.config().authorization {
        Authorization::AlwaysAllow => (true, String::new()),
        Authorization::Rbac => {
            let decision = policy::decide(pass.state, user, &wanted);
            (decision.allowed, decision.reason)
        }
    };
    object["status"] = json!({ "allowed": allowed });
    if !reason.is_empty() {
        object["status"]["reason"] = json!(reason);
    }
    object
}

/// Go leaves out empty strings: nobody sees or owns them.
fn drop_empty_texts(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, value| value != "");
        fields.values_mut().for_each(drop_empty_texts);
    }
}

fn self_rules(pass: &mut Pass<'_>, target: &Target, object: Value) -> Outcome<Value> {
    let namespace = object["spec"]["namespace"].as_str().unwrap_or_default();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let all = || json!(["*"]);
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    if pass.user.is_master() || pass.server.config().authorization == Authorization::AlwaysAllow {
        resources.push(json!({ "verbs": all(), "apiGroups": all(), "resources": all() }));
        paths.push(json!({ "verbs": all(), "nonResourceURLs": all() }));
    }
    let (rules, errors) = policy::rules_of(pass.state, &pass.user, namespace);
    for rule in rules {
        if !rule.resources.is_empty() {
            let mut shown = json!({ "verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources });
            if !rule.names.is_empty() {
                shown["resourceNames"] = json!(rule.names);
            }
            resources.push(shown);
        } else if !rule.paths.is_empty() {
            paths.push(json!({ "verbs": rule.verbs, "nonResourceURLs": rule.paths }));
        }
    }
    let mut status = json!({ "resourceRules": resources, "nonResourceRules": paths, "incomplete": !errors.is_empty() });
    if !errors.is_empty() {
        status["evaluationError"] = json!(policy::together(&errors));
    }
    Ok(
        json!({ "kind": "SelfSubjectRulesReview", "apiVersion": target.resource.api_version, "metadata": {}, "spec": {}, "status": status }),
    )
}

fn self_subject(pass: &mut Pass<'_>, target: &Target, _object: Value) -> Outcome<Value> {
    let metadata = json!({ "creationTimestamp": rest::second(pass.now) });
    let status = json!({ "userInfo": pass.user.to_value() });
    Ok(
        json!({ "kind": "SelfSubjectReview", "apiVersion": target.resource.api_version, "metadata": metadata, "status": status }),
    )
}

fn token(pass: &mut Pass<'_>, _target: &Target, mut object: Value) -> Outcome<Value> {
    let secret = object["spec"]["token"].as_str().unwrap_or_default();
    if secret.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    object["status"] = match identity::by_token(pass.server.config(), pass.state, secret) {
        Some(user) => {
            json!({ "authenticated": true, "user": user.to_value(), "audiences": ["https://kubernetes.default.svc"] })
        }
        None => json!({ "user": {}, "error": "invalid bearer token" }),
    };
    Ok(object)
}
