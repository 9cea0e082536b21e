//! Taking a piece in: from the bytes of a request to stamps that are checked, in bounded memory.

use std::io::{self, Read as _};

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::refusal::Refusal;
use crate::api::problem::Problem;
use crate::model::batch::Batch;
use crate::model::piece;
use crate::model::stream::StreamId;
use crate::runtime::http::BodyError;
use crate::runtime::time::Timestamp;

/// Bytes of a body as it comes, when it is compressed.
pub(in crate::api) const COMPRESSED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of a body as it is read.
pub(in crate::api) const BYTES_MAX: usize = 16 * 1024 * 1024;

/// The window that a compressed body may ask for, as a power of two: 8 MiB of memory.
const WINDOW_LOG_MAX: u32 = 23;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    Zstd,
}

/// Reads the piece of `stream` that a request brings.
pub(super) async fn read(
    request: Request,
    stream: StreamId,
    now: Timestamp,
) -> Result<Batch, Refusal> {
    let encoding = encoding(request.headers())?;
    let bytes_max = match encoding {
        Encoding::Identity => BYTES_MAX,
        Encoding::Zstd => COMPRESSED_BYTES_MAX,
    };
    let body = Limited::new(request.into_body(), bytes_max).collect().await;
    let bytes = body.map_err(|error| broken(&*error, bytes_max))?.to_bytes();
    // Thousands of stamps are parsed and hashed: other requests go on meanwhile.
    let work = move || {
        let text = unpack(bytes, encoding)?;
        piece::read(&text, stream, now).map_err(Refusal::Piece)
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::Panicked)?
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    match headers.get(CONTENT_ENCODING).map(|value| value.to_str()) {
        None | Some(Ok("identity")) => Ok(Encoding::Identity),
        Some(Ok("zstd")) => Ok(Encoding::Zstd),
        Some(_) => Err(Refusal::Encoding),
    }
}

fn broken(error: &(dyn std::error::Error + 'static), bytes_max: usize) -> Refusal {
    let too_long = error.is::<LengthLimitError>()
        || matches!(BodyError::of(error), Some(BodyError::TooLong(_)));
    if too_long {
        return Refusal::TooLarge(bytes_max);
    }
    let problem = Problem::of_body(error);
    Refusal::Body(problem.code, problem.message)
}

/// Unpacks no further than to the limit, whatever the body would become.
fn unpack(bytes: Bytes, encoding: Encoding) -> Result<Bytes, Refusal> {
    if encoding == Encoding::Identity {
        return Ok(bytes);
    }
    let mut text = Vec::new();
    let unpacked = decoder(&bytes)
        .and_then(|decoder| decoder.take(BYTES_MAX as u64 + 1).read_to_end(&mut text));
    match unpacked {
        Err(_) => Err(Refusal::Unpack),
        Ok(length) if length > BYTES_MAX => Err(Refusal::TooLarge(BYTES_MAX)),
        Ok(_) => Ok(text.into()),
    }
}

fn decoder(bytes: &[u8]) -> io::Result<zstd::Decoder<'static, &[u8]>> {
    let mut decoder = zstd::Decoder::with_buffer(bytes)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    Ok(decoder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(bytes: &[u8]) -> Bytes {
        zstd::encode_all(bytes, 1).unwrap().into()
    }

    #[test]
    fn a_body_is_unpacked_up_to_the_limit_and_no_further() {
        let fits = vec![b' '; BYTES_MAX];
        assert_eq!(unpack(pack(&fits), Encoding::Zstd).unwrap().len(), BYTES_MAX);
        let bomb = pack(&vec![b' '; BYTES_MAX * 8]);
        assert!(bomb.len() < 16 * 1024);
        assert!(matches!(unpack(bomb, Encoding::Zstd), Err(Refusal::TooLarge(BYTES_MAX))));
    }

    #[test]
    fn what_is_not_zstd_is_refused() {
        let cut = pack(b"{}").slice(..5);
        for bytes in [cut, Bytes::from_static(b"{}")] {
            assert!(matches!(unpack(bytes, Encoding::Zstd), Err(Refusal::Unpack)));
        }
        let wide = {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(27).unwrap();
            io::Write::write_all(&mut encoder, b"{}").unwrap();
            encoder.finish().unwrap()
        };
        assert!(matches!(unpack(wide.into(), Encoding::Zstd), Err(Refusal::Unpack)));
    }
}
