//! One test per item of the checklist of API server behaviours: `conf_a1` and so on.

use jiff::Timestamp;

use super::{Clock, Config, Server};

mod crd;
mod deletion;
mod identity;
mod ownership;

/// A server at a fixed time, with namespace `ns`.
async fn server() -> Server {
    let server = Server::new(Config::new(Clock::new(|| Timestamp::UNIX_EPOCH), 7));
    let (code, _) =
        server.client("test").post("/api/v1/namespaces", &serde_json::json!({ "metadata": { "name": "ns" } })).await;
    assert_eq!(code, 201);
    server
}

const CONFIG_MAPS: &str = "/api/v1/namespaces/ns/configmaps";

fn config_map(name: &str) -> serde_json::Value {
    serde_json::json!({ "metadata": { "name": name }, "data": { "k": "1" } })
}
