//! From method and path to the handler.

use http::Method;

use super::errors::{Outcome, Status};
use super::reply::{Payload, Reply};
use super::request::Target;
use super::server::Pass;
use super::table::Form;
use super::{delete, discovery, list, patch, rbac, rest, scale, watch};

/// Answers one request.
pub fn answer(pass: &mut Pass<'_>) -> Outcome<Reply> {
    rbac::authorize(pass)?;
    let path = pass.request.path.as_str();
    if matches!(path, "/healthz" | "/livez" | "/readyz") {
        return Ok(Reply::new(200, Payload::Text("ok")));
    }
    if let Some(reply) = discovery::answer(pass) {
        return reply;
    }
    // An answer that the client would not take is refused before anything happens.
    Form::negotiate(pass.request)?;
    let target = Target::resolve(&pass.state.resources, path)?;
    if let Some(text) = target.resource.custom.as_ref().and_then(|custom| custom.deprecation.clone()) {
        pass.warnings.push(text);
    }
    if let Some(reply) = rbac::answer(pass, &target) {
        return reply;
    }
    match target.subresource.as_deref() {
        None | Some("status" | "finalize") => {}
        Some("scale") => return scale::answer(pass, &target),
        Some(other) => return Err(Status::not_modelled(&format!("{}/{other}", target.resource.plural))),
    }
    let object = target.name.is_some();
    let reads_collection = !object && pass.request.method == Method::GET;
    pass.state.starting.check(&target, reads_collection, pass.now)?;
    match (&pass.request.method, object) {
        (&Method::GET, true) => rest::get(pass, &target),
        (&Method::GET, false) if target.watch_prefix || pass.request.query.flag("watch") == Some(true) => {
            watch::start(pass, &target)
        }
        (&Method::GET, false) => list::list(pass, &target),
        (&Method::POST, false) => rest::create(pass, &target),
        (&Method::PUT, true) => rest::replace(pass, &target),
        (&Method::PATCH, true) => patch::patch(pass, &target),
        (&Method::DELETE, true) if target.subresource.is_none() => delete::delete(pass, &target),
        (&Method::DELETE, false) => delete::delete_collection(pass, &target),
        (&Method::HEAD, _) => Err(Status::not_modelled("HEAD")),
        _ => Err(refused(&pass.request.method, &target)),
    }
}

/// 405, which custom resources word in their own way (C2).
fn refused(method: &Method, target: &Target) -> Status {
    let verb = match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => return Status::method_not_allowed(),
    };
    match &target.resource.custom {
        Some(_) => Status::verb_not_supported(&target.resource.group, &target.resource.plural, verb),
        None => Status::method_not_allowed(),
    }
}
