//! The stylesheet and the scripts.

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderValue};

use super::reply::{self, Reply};

/// An asset, unless there is none of that name.
pub(super) fn serve(name: &str) -> Option<Reply> {
    let (media_type, text) = match name {
        "vestibule.css" => ("text/css; charset=utf-8", include_str!("../../templates/assets/vestibule.css")),
        "countdown.js" => {
            ("text/javascript; charset=utf-8", include_str!("../../templates/assets/countdown.js"))
        }
        "localtime.js" => {
            ("text/javascript; charset=utf-8", include_str!("../../templates/assets/localtime.js"))
        }
        "once.js" => ("text/javascript; charset=utf-8", include_str!("../../templates/assets/once.js")),
        _ => return None,
    };
    let mut reply = reply::with_type(StatusCode::OK, media_type, text);
    // Short, so that a new version of the gateway shows at once enough; long enough for one sign-in.
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    Some(reply)
}
