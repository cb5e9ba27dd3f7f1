//! Whom the server answers. It has no password and listens on loopback, so any page that a browser shows on this machine can
//! send requests to it, and a name that is made to lead here (DNS rebinding) lets the page read the answers as its own.
//!
//! * `Host` has to be an IP address, `localhost`, or the host that `--listen` names: no page has such an origin by rebinding.
//! * `Origin`, which a browser sends with what a page of another site asks for, has to be this server's own, or one of those
//!   that the configuration lets read.
//! * A command has to say that it is JSON: a page can't say so of a form that it sends without asking first.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::Response;

use super::Shared;
use super::answers::respond;
use dataflows::answer::Failure;

/// What a command may be sent as. Lines of JSON are both.
const COMMAND_TYPES: [&str; 2] = ["application/json", "application/x-ndjson"];

/// Answers only who may be answered, before anything of a body is read.
pub(super) async fn admit(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    // A page of a site that may read asks first, with OPTIONS, what it may do.
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    let readers = if reads { &shared.settings.origins[..] } else { &[] };
    match check(&shared.listen_host, readers, request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(failure) => respond(failure.into_response()),
    }
}

/// The host of an address such as `localhost:7171` or `[::1]:7171`; all of it, if it has no port.
pub(super) fn host_of(address: &str) -> &str {
    match address.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => address,
    }
}

fn check(listen_host: &str, readers: &[String], uri: &Uri, headers: &HeaderMap) -> Result<(), Failure> {
    let named = headers.get_all(header::HOST).iter().map(text);
    let hosts: Vec<&str> = named.chain(uri.authority().map(|authority| authority.as_str())).collect();
    if let Some(host) = hosts.iter().find(|host| !is_own(host_of(host), listen_host)) {
        return Err(Failure::forbidden(format!(
            "the host {host:?} is no name of this server; ask by its IP address or as localhost, or start it with \
             --listen and that name"
        )));
    }
    let is_same = |origin: &str| {
        if readers.iter().any(|reader| reader.eq_ignore_ascii_case(origin)) {
            return true;
        }
        let from = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        from.is_some_and(|from| hosts.iter().any(|host| host.eq_ignore_ascii_case(from)))
    };
    match headers.get_all(header::ORIGIN).iter().map(text).find(|origin| !is_same(origin)) {
        Some(origin) => Err(Failure::forbidden(format!(
            "a page of {origin:?} may not ask this server; `origins` of `[http]` lets pages of a site read"
        ))),
        None => Ok(()),
    }
}

/// Whether a name is one of this server that nobody else can make lead here.
fn is_own(host: &str, listen_host: &str) -> bool {
    let address: Option<IpAddr> = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::from),
    };
    let is_known = ["localhost", listen_host].iter().any(|name| name.eq_ignore_ascii_case(host));
    address.is_some() || (is_known && !host.is_empty())
}

/// Refuses a command that does not say that it is JSON.
pub(super) fn check_command(headers: &HeaderMap) -> Result<(), Failure> {
    let given = headers.get(header::CONTENT_TYPE).map(text).unwrap_or_default();
    let kind = given.split(';').next().unwrap_or_default().trim();
    match COMMAND_TYPES.iter().any(|known| known.eq_ignore_ascii_case(kind)) {
        true => Ok(()),
        false => Err(Failure::unsupported_media_type(&COMMAND_TYPES)),
    }
}

/// A header's text; empty, which is nothing that is admitted, where it is none.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(header::HeaderName, &str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn status(listen_host: &str, uri: &str, all: &[(header::HeaderName, &str)]) -> u16 {
        check(listen_host, &["https://desk.example".to_owned()], &uri.parse().unwrap(), &headers(all))
            .map_or_else(|failure| failure.status, |()| 200)
    }

    #[test]
    fn only_names_that_nobody_else_can_take_are_answered() {
        let of_host = |host: &str| status("aisle.internal", "/healthz", &[(header::HOST, host)]);
        for host in ["127.0.0.1:7171", "127.0.0.1", "10.1.2.3:80", "[::1]:7171", "[::1]", "localhost:1", "LocalHost"] {
            assert_eq!(of_host(host), 200, "{host}");
        }
        assert_eq!(of_host("Aisle.internal:7171"), 200, "where it listens");
        for host in ["rebound.example:7171", "127.0.0.1.example", "localhost.example:80", "", ":80", "user@localhost"] {
            assert_eq!(of_host(host), 403, "{host}");
        }
        for host in ["::1", "[127.0.0.1]", "[::1", "aisle", "localhost:80:80", "localhost:http"] {
            assert_eq!(of_host(host), 403, "{host}");
        }
        // Whoever speaks HTTP/1.0 is no browser.
        assert_eq!(status("", "/healthz", &[]), 200);
        assert_eq!(status("", "/healthz", &[(header::HOST, "")]), 403);
        assert_eq!(status("", "http://rebound.example/healthz", &[(header::HOST, "localhost")]), 403);
        let two = [(header::HOST, "localhost"), (header::HOST, "rebound.example")];
        let mut both = HeaderMap::new();
        for (name, value) in two {
            both.append(name, HeaderValue::from_static(value));
        }
        assert_eq!(check("", &[], &Uri::from_static("/healthz"), &both).unwrap_err().status, 403);
    }

    #[test]
    fn pages_of_other_sites_are_not_answered() {
        let of_origin =
            |origin: &str| status("", "/v1/views", &[(header::HOST, "127.0.0.1:7171"), (header::ORIGIN, origin)]);
        assert_eq!(of_origin("http://127.0.0.1:7171"), 200);
        assert_eq!(of_origin("https://desk.example"), 200, "one that may read");
        for origin in [
            "null",
            "http://127.0.0.1:8080",
            "http://localhost:7171",
            "https://shop.example",
            "http://desk.example",
            "",
            "127.0.0.1:7171",
        ] {
            assert_eq!(of_origin(origin), 403, "{origin}");
        }
    }

    #[test]
    fn commands_say_that_they_are_json() {
        let of_type = |kind: &str| check_command(&headers(&[(header::CONTENT_TYPE, kind)])).is_ok();
        for kind in ["application/json", "Application/JSON; charset=utf-8", "application/x-ndjson"] {
            assert!(of_type(kind), "{kind}");
        }
        for kind in
            ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=application/json", ""]
        {
            assert!(!of_type(kind), "{kind}");
        }
        assert_eq!(check_command(&HeaderMap::new()).unwrap_err().status, 415);
    }

    #[test]
    fn the_host_of_an_address_is_what_stands_before_the_port() {
        for (address, host) in [
            ("localhost:7171", "localhost"),
            ("[::1]:7171", "[::1]"),
            ("[::1]", "[::1]"),
            ("name", "name"),
            ("::1", "::1"),
        ] {
            assert_eq!(host_of(address), host);
        }
    }
}
