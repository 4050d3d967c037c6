//! Subresources: status, scale, finalize.

use std::sync::Arc;

use crate::{
    builtin::budget,
    registry::Behaviour,
    reply::Reply,
    server::{Call, Server},
    status::Status,
};

use super::{patch, read, status, update};

pub(crate) fn answer(server: &Arc<Server>, call: &Call<'_>) -> Result<Reply, Status> {
    if call.path.name.is_empty() {
        return Err(Status::no_such_resource());
    }
    match call.path.subresource.as_str() {
        "status" if call.version().status => main(server, call),
        "finalize" if call.plural() == "namespaces" => main(server, call),
        "scale" => match &call.version().scale {
            Some(scale) => super::scale::answer(server, call, scale),
            None => Err(Status::no_such_resource()),
        },
        "eviction" if call.resource.behaviour == Behaviour::Pod => {
            match call.request.method.as_str() {
                "POST" => server.write(|| budget::evict(call)),
                _ => Err(Status::method_not_allowed()),
            }
        }
        _ if call.resource.is_custom() => Err(call.not_found()),
        _ => Err(Status::no_such_resource()),
    }
}

/// A subresource that reads and writes the object itself.
fn main(server: &Arc<Server>, call: &Call<'_>) -> Result<Reply, Status> {
    match call.request.method.as_str() {
        "GET" | "HEAD" => read::get(call),
        "PUT" => server.write(|| update::put(call)),
        "PATCH" => server.write(|| match status::merge(call)? {
            Some(reply) => Ok(reply),
            None => patch::patch(call),
        }),
        _ => Err(Status::method_not_allowed()),
    }
}
