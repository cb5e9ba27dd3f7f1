//! What is read of a request: its parameters, and the body of a command.

use std::sync::Arc;

use axum::body::{Body, HttpBody};
use futures_util::StreamExt;
use percent_encoding::percent_decode_str;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::answers::too_much_is_held;
use dataflows::answer::Failure;
use dataflows::configuration::HttpSettings;

/// How many parameters a question may have.
const PARAMETERS_MAX: usize = 128;

/// How long a parameter's value may be, in bytes.
const PARAMETER_BYTES_MAX: usize = 16 << 10;

/// The parameters of a URL. Bytes that are no UTF-8 are refused: they would stand for another name than any that there is.
pub(super) fn parameters(query: &str) -> Result<Vec<(String, String)>, Failure> {
    if percent_decode_str(query).decode_utf8().is_err() {
        return Err(Failure::bad_request("the parameters are not UTF-8"));
    }
    let parameters: Vec<(String, String)> =
        form_urlencoded::parse(query.as_bytes()).into_owned().take(PARAMETERS_MAX + 1).collect();
    if parameters.len() > PARAMETERS_MAX {
        return Err(Failure::bad_request(format!("at most {PARAMETERS_MAX} parameters are allowed")));
    }
    match parameters.iter().find(|(_, value)| value.len() > PARAMETER_BYTES_MAX) {
        None => Ok(parameters),
        Some((name, _)) => {
            Err(Failure::bad_request(format!("the value of {name:?} is longer than {PARAMETER_BYTES_MAX} bytes")))
        }
    }
}

/// The body of a command, and the permit for what it takes of `held`, which counts the bytes of all clients.
pub(super) async fn read_body(
    body: Body,
    settings: &HttpSettings,
    held: &Arc<Semaphore>,
) -> Result<(String, OwnedSemaphorePermit), Failure> {
    let bytes_max = settings.body_bytes_max;
    let too_large = || {
        Failure::too_large(format!("at most {bytes_max} bytes are taken at once (`body_bytes_max`); send fewer lines"))
    };
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large());
    }
    let take = |bytes: usize| {
        let bytes = u32::try_from(bytes).map_err(|_| too_large())?;
        Arc::clone(held).try_acquire_many_owned(bytes).map_err(|_| too_much_is_held())
    };
    let reading = async {
        let (mut bytes, mut permit) = (Vec::new(), take(0)?);
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| Failure::bad_request(format!("the body could not be read: {error}")))?;
            if bytes.len() + chunk.len() > bytes_max {
                return Err(too_large());
            }
            permit.merge(take(chunk.len())?);
            bytes.extend_from_slice(&chunk);
        }
        let text = String::from_utf8(bytes).map_err(|_| Failure::bad_request("the body is not UTF-8"))?;
        Ok((text, permit))
    };
    let body_ms = settings.body.as_millis();
    let slow = || Failure::too_slow(format!("the body of a command has to come within {body_ms} ms (`body_ms`)"));
    timeout(settings.body, reading).await.unwrap_or_else(|_| Err(slow()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_can_be_a_parameter() {
        let names = ["a/b", "100%", "a b+c", "ä", "\u{0}", "", "=&?#", "\u{fffd}", "a,b"];
        for name in names {
            let query: String = form_urlencoded::Serializer::new(String::new()).append_pair("sku", name).finish();
            assert_eq!(parameters(&query).unwrap(), [("sku".to_owned(), name.to_owned())], "{query}");
        }
        assert_eq!(parameters("sku=%FF").unwrap_err().status, 400);
        assert_eq!(parameters("").unwrap(), []);
    }

    #[test]
    fn parameters_have_bounds() {
        assert_eq!(parameters(&"a=b&".repeat(PARAMETERS_MAX)).unwrap().len(), PARAMETERS_MAX);
        assert_eq!(parameters(&"a=b&".repeat(PARAMETERS_MAX + 1)).unwrap_err().status, 400);
        assert_eq!(parameters(&format!("a={}", "x".repeat(PARAMETER_BYTES_MAX + 1))).unwrap_err().status, 400);
    }
}
