//! `aisle subscribe`: follows a view of a running engine and prints each frame as a line of JSON.

use std::io::{self, BufRead, BufReader, ErrorKind, IsTerminal, Read, Write};

use connectors::http_client;
use serde_json::Value;

use super::terminal::visible_json;

use dataflows::view::ViewId;

/// The longest line that is read, in bytes. A row is much shorter; what does not end is no engine's.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// What was followed, once it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// The lines that were printed.
    pub frames: u64,
    /// With which token one can go on behind them.
    pub token: Option<String>,
}

/// Why a view could not be followed, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// There is no such view.
    #[error("there is no view \"{name}\"; there are {}", ViewId::all().map(ViewId::name).collect::<Vec<_>>().join(", "))]
    UnknownView {
        /// As given.
        name: String,
    },
    /// Nobody answers there.
    #[error("could not reach {url}: is `aisle run` running there? pass --url with the address that it printed")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// The engine answered that it will not.
    #[error("{url} answered {status}: {message}")]
    Refused {
        /// Where.
        url: String,
        /// As in HTTP; 410 says that history does not reach back to the token.
        status: u16,
        /// Why.
        message: String,
    },
    /// The connection broke.
    #[error("the connection to {url} broke{}", hint(.followed))]
    Interrupted {
        /// Where.
        url: String,
        /// What had come until then.
        followed: Followed,
        /// Why.
        source: io::Error,
    },
    /// The lines could not be written.
    #[error("could not write what came from {url}")]
    Unwritable {
        /// Where from.
        url: String,
        /// Why.
        source: io::Error,
    },
}

/// Follows `view` of the engine at `url`, such as `http://127.0.0.1:8080`, from `token` on or from a snapshot, until the
/// engine ends it or nobody reads `output` any more.
pub fn subscribe(
    url: &str,
    view: &str,
    token: Option<&str>,
    output: &mut impl Write,
) -> Result<Followed, SubscribeError> {
    let view = ViewId::of_name(view).ok_or_else(|| SubscribeError::UnknownView { name: view.to_owned() })?;
    let url = format!("{}/v1/views/{}/changes", url.trim_end_matches('/'), view.name());
    // A status that refuses comes with a sentence that says why, which is worth more than the status.
    let mut request = http_client::agent(&url).get(&url);
    if let Some(token) = token {
        request = request.query("token", token);
    }
    let mut response =
        request.call().map_err(|source| SubscribeError::Unreachable { url: url.clone(), source: Box::new(source) })?;
    let status = response.status().as_u16();
    if status != 200 {
        let body = response.body_mut().read_to_string().unwrap_or_default();
        return Err(SubscribeError::Refused { url, status, message: message_of(&body) });
    }
    print_frames(&url, BufReader::new(response.into_body().into_reader()), output)
}

fn print_frames(
    url: &str,
    mut events: BufReader<impl io::Read>,
    output: &mut impl Write,
) -> Result<Followed, SubscribeError> {
    let mut followed = Followed::default();
    let mut line = String::new();
    let is_seen = io::stdout().is_terminal();
    loop {
        line.clear();
        let read = events.by_ref().take(LINE_BYTES_MAX).read_line(&mut line).and_then(|bytes| {
            match bytes as u64 == LINE_BYTES_MAX && !line.ends_with('\n') {
                true => Err(io::Error::other(format!("a line of it has more than {LINE_BYTES_MAX} bytes"))),
                false => Ok(bytes),
            }
        });
        match read {
            Ok(0) => return Ok(followed),
            Ok(_) => {}
            Err(source) => return Err(SubscribeError::Interrupted { url: url.to_owned(), followed, source }),
        }
        let Some(frame) = line.strip_prefix("data:").map(str::trim) else { continue };
        // Whoever reads is not to wait for more than has come.
        let is_last_for_now = events.buffer().len() <= 1;
        let shown = if is_seen { visible_json(frame) } else { frame.into() };
        let written = writeln!(output, "{shown}");
        match written.and_then(|()| if is_last_for_now { output.flush() } else { Ok(()) }) {
            Ok(()) => {}
            Err(source) if source.kind() == ErrorKind::BrokenPipe => return Ok(followed),
            Err(source) => return Err(SubscribeError::Unwritable { url: url.to_owned(), source }),
        }
        followed.frames += 1;
        if let Some(token) = token_of(frame) {
            followed.token = Some(token);
        }
    }
}

/// The token of a progress or a disconnect; rows, which are many, are not looked into.
fn token_of(frame: &str) -> Option<String> {
    if frame.starts_with("{\"tick\"") {
        return None;
    }
    let frame: Value = serde_json::from_str(frame).ok()?;
    frame["token"].as_str().map(str::to_owned)
}

fn message_of(body: &str) -> String {
    let answer: Value = serde_json::from_str(body).unwrap_or_default();
    answer["error"]["message"].as_str().unwrap_or(body).to_owned()
}

fn hint(followed: &Followed) -> String {
    match &followed.token {
        Some(token) => format!("; go on with --token {token}"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: &str = "data: {\"snapshot\":{\"as_of\":1}}\n\n: comment\ndata: {\"tick\":1,\"diff\":1,\"row\":{}}\n\n\
                          data: {\"progress\":2,\"sealed_through\":{},\"token\":\"stock:2\"}\n\n";

    #[test]
    fn events_become_lines() {
        let mut output = Vec::new();
        let followed = print_frames("here", BufReader::new(EVENTS.as_bytes()), &mut output).unwrap();
        assert_eq!(followed, Followed { frames: 3, token: Some("stock:2".to_owned()) });
        let lines: Vec<Value> =
            String::from_utf8(output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[1]["diff"], &lines[2]["progress"]), (&Value::from(1), &Value::from(2)));
    }

    /// Fails once so many bytes came, as a connection does, or a reader that has left.
    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
    }

    #[test]
    fn a_reader_that_has_left_is_no_error() {
        let mut gone = Broken(ErrorKind::BrokenPipe);
        let followed = print_frames("here", BufReader::new(EVENTS.as_bytes()), &mut gone).unwrap();
        assert_eq!(followed.frames, 0);
        let mut full = Broken(ErrorKind::StorageFull);
        let error = print_frames("here", BufReader::new(EVENTS.as_bytes()), &mut full).unwrap_err();
        assert!(matches!(error, SubscribeError::Unwritable { .. }));
    }

    #[test]
    fn a_broken_connection_says_how_to_go_on() {
        let events = io::Read::chain(EVENTS.as_bytes(), Broken(ErrorKind::ConnectionReset));
        let error = print_frames("here", BufReader::new(events), &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "the connection to here broke; go on with --token stock:2");
    }

    #[test]
    fn a_line_without_end_is_not_waited_for() {
        let endless = BufReader::new(io::repeat(b'x'));
        let error = print_frames("here", endless, &mut Vec::new()).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("more than 16777216 bytes"), "{cause}");
        let mut longest = b"data: ".to_vec();
        longest.resize(LINE_BYTES_MAX as usize - 1, b'x');
        longest.push(b'\n');
        assert_eq!(print_frames("here", BufReader::new(&longest[..]), &mut Vec::new()).unwrap().frames, 1);
    }

    #[test]
    fn unknown_views_are_named_before_anyone_is_asked() {
        let error = subscribe("http://127.0.0.1:9", "stocks", None, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("variant_minutes"), "{error}");
    }
}
