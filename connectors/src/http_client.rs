//! What every HTTP client of ours has in common.
//!
//! It asks whom it was told to ask and nobody else: it follows no redirect, which could lead to any address within reach, and
//! an address of this machine is asked directly, whatever proxy the environment names.

use std::net::IpAddr;

use ureq::config::{Config, ConfigBuilder};
use ureq::http::Uri;
use ureq::typestate::AgentScope;

/// The configuration of a client of the server at `url`. A status that refuses is an answer, too.
pub fn configuration(url: &str) -> ConfigBuilder<AgentScope> {
    let configuration = Config::builder().http_status_as_error(false).max_redirects(0);
    if is_loopback(url) { configuration.proxy(None) } else { configuration }
}

/// A client of the server at `url`.
pub fn agent(url: &str) -> ureq::Agent {
    configuration(url).build().into()
}

/// Whether a URL leads to this machine.
pub fn is_loopback(url: &str) -> bool {
    let Some(host) = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_ascii_lowercase)) else {
        return false;
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let is_name = || host == "localhost" || host.ends_with(".localhost");
    address.map_or_else(|_| is_name(), |address| address.is_loopback() || address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn this_machine_has_several_names() {
        let loopback = [
            "http://127.0.0.1:7171",
            "http://localhost",
            "http://[::1]:80/x",
            "http://127.8.8.8",
            "http://a.LOCALHOST:1/",
        ];
        assert!(loopback.into_iter().all(is_loopback));
        let others = [
            "http://10.0.0.1",
            "http://localhost.example.com",
            "https://registry:8081",
            "nonsense",
            "",
            "http://[::2]",
        ];
        assert!(!others.into_iter().any(is_loopback));
        assert!(configuration(loopback[0]).build().proxy().is_none());
    }

    #[test]
    fn a_redirect_is_an_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(&stream).lines();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let answer = "HTTP/1.1 307 Elsewhere\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n";
            (&stream).write_all(answer.as_bytes()).unwrap();
        });
        assert_eq!(agent(&url).get(&url).call().unwrap().status(), 307);
        serving.join().unwrap();
    }
}
