//! Reviews: questions about who asks and what may be done. Whoever is authenticated may do all.

use serde_json::{Value, json};

use crate::{
    reply::Reply,
    server::Call,
    status::Status,
    verbs::{fields, shape},
};

pub(crate) fn create(call: &Call<'_>) -> Result<Reply, Status> {
    let (mut body, _) = shape::decode(call.kind(), &call.request.content_type, &call.request.body)?;
    shape::check_type(call, &mut body)?;
    fields::track(call, &mut body, None, fields::Writer::Update);
    let mut review: Value = serde_json::from_slice(&body.to_vec())
        .map_err(|error| Status::bad_request(error.to_string()))?;
    let user = &call.request.user;
    let user_info = json!({"username": user.name, "groups": user.groups});
    review["status"] = match call.kind() {
        "SelfSubjectAccessReview" | "SubjectAccessReview" => {
            json!({"allowed": true})
        }
        "SelfSubjectRulesReview" => json!({
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": false,
        }),
        "SelfSubjectReview" => json!({"userInfo": user_info}),
        "TokenReview" => {
            json!({"authenticated": false, "user": {}, "error": "tokens are checked by the transport"})
        }
        _ => return Err(Status::method_not_allowed()),
    };
    Ok(super::super::verbs::read::finish(
        call,
        201,
        review.to_string().into(),
    ))
}
