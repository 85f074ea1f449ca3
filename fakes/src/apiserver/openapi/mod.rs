//! OpenAPI documents (M2): v3 per group and version, v2 whole, from the same definitions that validation uses.
//!
//! Operations carry what clients look at: the kind, the action, and the query parameters. Request bodies and most parameters are left out.

mod names;
mod paths;
mod v2;
mod v3;

use http::header;

use super::discovery::tagged;
use super::errors::{Outcome, Status};
use super::json;
use super::reply::{Payload, Reply};
use super::server::Pass;

const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// Answers a path below `/openapi`.
pub(crate) fn answer(pass: &Pass<'_>, parts: &[&str]) -> Outcome<Reply> {
    match parts {
        ["v2"] => {
            let document = v2::document(pass);
            let accept = pass.request.header("accept");
            if accept.contains(V2_PROTOBUF) && !accept.contains("application/json") {
                // The `@` of the request became a dot in the answer long ago.
                return Ok(tagged(
                    pass.request,
                    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
                    v2::protobuf(&document),
                ));
            }
            Ok(tagged(pass.request, "application/json", json::to_vec(&document)))
        }
        ["v3"] => {
            // The real server sends this JSON as text.
            let index = json::to_vec(&v3::index(pass));
            Ok(Reply::new(200, Payload::Document("text/plain; charset=utf-8", index.into())))
        }
        ["v3", path @ ..] => document(pass, &path.join("/")),
        _ => Err(Status::page_not_found()),
    }
}

/// One document; a URL with an outdated hash is redirected to the current one.
fn document(pass: &Pass<'_>, path: &str) -> Outcome<Reply> {
    let document = v3::document(pass, path).ok_or_else(Status::page_not_found)?;
    let bytes = json::to_vec(&document);
    let hash = v3::hash(&bytes);
    let mut reply = tagged(pass.request, "application/json", bytes);
    match pass.request.query.get("hash") {
        Some(wanted) if wanted != hash => {
            let mut moved = Reply::new(301, Payload::NotModified);
            moved.headers = vec![(header::LOCATION, format!("/openapi/v3/{path}?hash={hash}"))];
            Ok(moved)
        }
        Some(_) => {
            reply.headers.push((header::CACHE_CONTROL, "public, immutable".to_owned()));
            Ok(reply)
        }
        None => Ok(reply),
    }
}
