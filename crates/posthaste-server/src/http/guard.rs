//! Keeping other sites' pages away from a server that asks for no key.
//!
//! A page that anyone visits can send requests to the loopback. A browser says so: it names the
//! page's origin. What it names must be the host that was asked, and the host must be this machine
//! by address or as `localhost`: a name that its owner points here makes his page look like ours.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use posthaste_core::{Error, ErrorKind};

use super::refusal;

/// Answers 403 to a request that a browser sends for a page of another origin.
pub(super) async fn refuse_other_sites(request: Request, next: Next) -> Response {
    if is_foreign(request.headers()) || !is_asked_here(request.headers()) {
        let error = Error::new(
            ErrorKind::Invalid,
            "a page of another origin sent this request, or it was sent to another name",
        )
        .next("send it from a program, to an address or to localhost");
        return refusal::with_status(&error, StatusCode::FORBIDDEN);
    }
    next.run(request).await
}

fn is_foreign(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return headers
            .get("sec-fetch-site")
            .is_some_and(|site| site == "cross-site");
    };
    let authority = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"))
        .map(|(_, authority)| authority);
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    authority.is_none() || authority != host
}

/// Whether the host that was asked is an address or `localhost`, or isn't given.
fn is_asked_here(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let host = host.to_str().unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fields: &[(&'static str, &'static str)], foreign: bool) {
        let headers = fields.iter().map(|(name, value)| {
            let name = name.parse::<header::HeaderName>().expect("a name");
            (name, value.parse().expect("a value"))
        });
        assert_eq!(is_foreign(&headers.collect()), foreign, "{fields:?}");
    }

    #[test]
    fn only_addresses_and_localhost_are_this_server() {
        let check = |host: &str, here: bool| {
            let value = host.parse().expect("a value");
            let headers = HeaderMap::from_iter([(header::HOST, value)]);
            assert_eq!(is_asked_here(&headers), here, "{host}");
        };
        assert!(is_asked_here(&HeaderMap::new()));
        let names = "127.0.0.1:7766 127.0.0.1 localhost:1 LOCALHOST [::1]:7766 [::1]";
        names.split(' ').for_each(|host| check(host, true));
        let names = "evil.example:7766 127.0.0.1.evil.example localhost.evil.example";
        names.split(' ').for_each(|host| check(host, false));
    }

    #[test]
    fn only_pages_of_this_server_pass() {
        check(&[("host", "127.0.0.1:7766")], false);
        check(&[("host", "a:1"), ("origin", "http://a:1")], false);
        check(&[("host", "a:1"), ("origin", "http://b")], true);
        check(&[("host", "a:1"), ("origin", "null")], true);
        check(&[("host", "a:1"), ("sec-fetch-site", "cross-site")], true);
    }
}
