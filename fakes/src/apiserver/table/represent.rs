//! From a handler's payload to the form that `Accept` asks for: JSON, YAML, Table or metadata only.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::{Include, partial, partial_list, table};
use crate::apiserver::errors::{Details, Outcome, Status};
use crate::apiserver::json;
use crate::apiserver::reply::Payload;
use crate::apiserver::request::Request;
use crate::apiserver::resource::Resource;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// JSON as it is.
    Json,
    /// YAML.
    Yaml,
    /// A Table.
    Table(Include),
    /// PartialObjectMetadata or its list.
    Metadata,
}

impl Form {
    /// The first form of `Accept` that can be served. Protobuf is passed over: clients that ask for it name JSON beside it.
    ///
    /// # Errors
    /// 406, and 400 for an unknown `includeObject`.
    pub(crate) fn negotiate(request: &Request) -> Outcome<Form> {
        let accept = request.header("accept");
        if accept.is_empty() {
            return Ok(Form::Json);
        }
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default();
            let parameters: Vec<&str> =
                parts.filter(|parameter| !parameter.starts_with("q=") && !parameter.starts_with("charset=")).collect();
            let has = |wanted: &str| parameters.contains(&wanted);
            let meta = has("g=meta.k8s.io") && (has("v=v1") || has("v=v1beta1"));
            match media_type {
                "application/json" | "*/*" | "application/*" if parameters.is_empty() => return Ok(Form::Json),
                "application/yaml" if parameters.is_empty() => return Ok(Form::Yaml),
                "application/json" if meta && has("as=Table") => {
                    let include = request.query.get("includeObject");
                    let unknown = || {
                        Status::bad_request(format!(
                            "invalid includeObject value: {:?}: must be one of '', 'None', 'Metadata', 'Object'",
                            include.unwrap_or_default()
                        ))
                    };
                    return Include::parse(include).map(Form::Table).ok_or_else(unknown);
                }
                "application/json"
                    if meta && (has("as=PartialObjectMetadata") || has("as=PartialObjectMetadataList")) =>
                {
                    return Ok(Form::Metadata);
                }
                _ => {}
            }
        }
        let message = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf";
        Err(Status::new(406, "NotAcceptable", message).with_details(Details::default()))
    }

    /// A payload in this form.
    pub(crate) fn represent(self, payload: Payload, now: Timestamp) -> Payload {
        match (self, payload) {
            (Form::Json, payload) => payload,
            (Form::Table(include), Payload::Object(resource, stored)) => {
                let metadata = stored.value["metadata"].clone();
                Payload::Json(table(&resource, &metadata, std::iter::once(&*stored.value), include, true, now))
            }
            (Form::Table(include), Payload::List(resource, meta, items)) => {
                let metadata = meta.to_value(resource.custom.is_some());
                Payload::Json(table(&resource, &metadata, items.iter().map(|item| &*item.value), include, true, now))
            }
            (Form::Metadata, Payload::Object(_, stored)) => Payload::Json(partial(&stored.value)),
            (Form::Metadata, Payload::List(resource, meta, items)) => {
                let metadata = meta.to_value(resource.custom.is_some());
                Payload::Json(partial_list(&metadata, items.iter().map(|item| &*item.value)))
            }
            (Form::Yaml, payload @ (Payload::Object(..) | Payload::List(..) | Payload::Json(_))) => {
                let (_, bytes) = payload.render();
                let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                let text = serde_yaml_ng::to_string(&value).unwrap_or_default();
                Payload::Document("application/yaml", text.into())
            }
            (_, payload) => payload,
        }
    }

    /// The object of one watch event in this form. `first` events of a Table carry the column definitions (B19).
    pub(crate) fn event(
        self,
        resource: &Arc<Resource>,
        object: &Value,
        first: bool,
        now: Timestamp,
    ) -> Option<Vec<u8>> {
        match self {
            Form::Json | Form::Yaml => None,
            Form::Metadata => Some(json::to_vec(&partial(object))),
            Form::Table(include) => {
                Some(json::to_vec(&table(resource, &object["metadata"], std::iter::once(object), include, first, now)))
            }
        }
    }
}
