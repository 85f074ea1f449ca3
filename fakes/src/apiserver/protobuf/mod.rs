//! Request bodies in protobuf (M6): the envelope `k8s\0` + `runtime.Unknown`, decoded into the JSON the rest of the
//! server reads. Helm 4 and kubectl 1.32 or later send built-in kinds this way and do not fall back on 415.
//!
//! Not modelled: protobuf *answers* (clients list `application/json` beside it and are content), and kinds outside
//! [`kinds::find`], which the caller answers with 501.

mod decode;
mod kinds;
#[rustfmt::skip] // one line per message
mod messages;
mod wire;
#[rustfmt::skip] // one line per message
mod workloads;

use serde_json::{Map, Value};

/// Media type of a protobuf request body.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

const MAGIC: &[u8] = b"k8s\0";

/// Why a body could not be turned into JSON.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ProtobufError {
    /// The body is not a valid envelope or its contents break the wire format: 400.
    #[error("{0}")]
    Malformed(&'static str),
    /// The envelope is fine, but this kind has no table here: 501.
    #[error("protobuf bodies of {api_version}, Kind={kind} are not modelled")]
    Unmodelled {
        /// apiVersion named by the envelope.
        api_version: String,
        /// kind named by the envelope.
        kind: String,
    },
}

/// Decodes one request body into the object it stands for, with `apiVersion` and `kind` set from the envelope.
pub(crate) fn decode(body: &[u8]) -> Result<Value, ProtobufError> {
    let envelope = body.strip_prefix(MAGIC).ok_or(ProtobufError::Malformed(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]",
    ))?;
    let (mut api_version, mut kind, mut raw): (String, String, &[u8]) = Default::default();
    for field in wire::fields(envelope) {
        match field? {
            (1, wire::Raw::Bytes(type_meta)) => {
                for field in wire::fields(type_meta) {
                    match field? {
                        (1, wire::Raw::Bytes(text)) => api_version = wire::text(text)?,
                        (2, wire::Raw::Bytes(text)) => kind = wire::text(text)?,
                        _ => {}
                    }
                }
            }
            (2, wire::Raw::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let Some(message) = kinds::find(&api_version, &kind) else {
        return Err(ProtobufError::Unmodelled { api_version, kind });
    };
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), api_version.into());
    object.insert("kind".to_owned(), kind.into());
    decode::message(message, raw, &mut object)?;
    Ok(Value::Object(object))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_pb::api::core::v1 as core;
    use k8s_pb::apimachinery::pkg::apis::meta::v1 as meta;
    use k8s_pb::apimachinery::pkg::runtime::{TypeMeta, Unknown};
    use prost::Message as _;
    use serde_json::json;

    fn envelope(api_version: &str, kind: &str, message: &impl prost::Message) -> Vec<u8> {
        let unknown = Unknown {
            type_meta: Some(TypeMeta { api_version: Some(api_version.into()), kind: Some(kind.into()) }),
            raw: Some(message.encode_to_vec()),
            ..Default::default()
        };
        [MAGIC, &unknown.encode_to_vec()].concat()
    }

    fn named(name: &str) -> Option<meta::ObjectMeta> {
        // Go writes every non-pointer field, also empty ones; they must not reach the JSON.
        Some(meta::ObjectMeta {
            name: Some(name.into()),
            generate_name: Some(String::new()),
            uid: Some(String::new()),
            generation: Some(0),
            creation_timestamp: Some(meta::Time::default()),
            labels: [("owner".to_owned(), "helm".to_owned())].into(),
            finalizers: vec!["t.io/a".into()],
            owner_references: vec![meta::OwnerReference {
                api_version: Some("v1".into()),
                kind: Some("ConfigMap".into()),
                name: Some("o".into()),
                uid: Some("u".into()),
                controller: Some(false),
                ..Default::default()
            }],
            ..Default::default()
        })
    }

    /// M6: what helm sends for its release Secret.
    #[test]
    fn conf_m6() {
        let secret = core::Secret {
            metadata: named("sh.helm.release.v1.a.v1"),
            data: [("release".to_owned(), b"\x00\xff".to_vec())].into(),
            r#type: Some("helm.sh/release.v1".into()),
            ..Default::default()
        };
        let expected = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1", "data": {"release": "AP8="},
            "metadata": {"name": "sh.helm.release.v1.a.v1", "labels": {"owner": "helm"}, "finalizers": ["t.io/a"],
                "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u", "controller": false}]}
        });
        assert_eq!(decode(&envelope("v1", "Secret", &secret)), Ok(expected));

        let options = meta::DeleteOptions {
            grace_period_seconds: Some(0),
            preconditions: Some(meta::Preconditions { uid: Some("u1".into()), resource_version: None }),
            propagation_policy: Some("Background".into()),
            ..Default::default()
        };
        let expected = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
            "preconditions": {"uid": "u1"}, "propagationPolicy": "Background"});
        assert_eq!(decode(&envelope("v1", "DeleteOptions", &options)), Ok(expected));
    }

    #[test]
    fn times_keep_their_precision_and_reviews_their_attributes() {
        let time = meta::MicroTime { seconds: Some(1_700_000_000), nanos: Some(123_000) };
        let lease = k8s_pb::api::coordination::v1::Lease {
            metadata: named("l"),
            spec: Some(k8s_pb::api::coordination::v1::LeaseSpec {
                holder_identity: Some("me".into()),
                lease_duration_seconds: Some(15),
                renew_time: Some(time),
                ..Default::default()
            }),
        };
        let json = decode(&envelope("coordination.k8s.io/v1", "Lease", &lease)).expect("a lease");
        assert_eq!(json["spec"]["renewTime"], "2023-11-14T22:13:20.000123Z");
        assert_eq!(json["spec"]["leaseDurationSeconds"], 15);

        let review = k8s_pb::api::authorization::v1::SelfSubjectAccessReview {
            spec: Some(k8s_pb::api::authorization::v1::SelfSubjectAccessReviewSpec {
                resource_attributes: Some(k8s_pb::api::authorization::v1::ResourceAttributes {
                    verb: Some("get".into()),
                    resource: Some("pods".into()),
                    group: Some(String::new()),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let json = decode(&envelope("authorization.k8s.io/v1", "SelfSubjectAccessReview", &review)).expect("a review");
        assert_eq!(json["spec"], json!({"resourceAttributes": {"verb": "get", "resource": "pods"}}));
    }

    #[test]
    fn nonsense_is_refused_and_unknown_kinds_are_named() {
        assert!(matches!(decode(b"{}"), Err(ProtobufError::Malformed(_))));
        assert!(matches!(decode(b"k8s\0\x0a\xff\x01"), Err(ProtobufError::Malformed(_))));
        let body = envelope("example.io/v1", "Thing", &core::Secret::default());
        assert!(matches!(decode(&body), Err(ProtobufError::Unmodelled { .. })));
    }
}
