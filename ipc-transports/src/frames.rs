//! A message as one system call writes it: header, payload and checksum, copied together or gathered.

use std::io::IoSlice;

use ipc_core::SendError;
use ipc_core::frame::{Check, Framing};

/// Frames up to this many bytes are copied together: on a socket a call that writes one buffer takes 100 to 190 ns less than one
/// that gathers, with the copy included (docs/performance.md, "Sockets, pipes and queues that sleep").
const JOINED: usize = 3 * 1024;

/// Parts of a message that are gathered without allocating.
const MAX_GATHERED: usize = 14;

/// Bytes of a message, and of its frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    pub(crate) message: usize,
    pub(crate) frame: usize,
}

/// Room for the frames that are copied together, made once.
pub(crate) fn room() -> Vec<u8> {
    Vec::with_capacity(JOINED)
}

/// Calls `write` with the frame of `parts`, in one piece in `room` or in several where they are.
///
/// # Errors
/// `TooLong`, and what `write` says.
#[inline]
pub(crate) fn with_frame(
    framing: Framing,
    parts: &[IoSlice<'_>],
    room: &mut Vec<u8>,
    write: impl FnOnce(&mut [IoSlice<'_>], Lengths) -> Result<(), SendError>,
) -> Result<(), SendError> {
    let message = parts.iter().map(|part| part.len()).sum();
    let header = framing.header(message)?;
    let trailer = match framing.check {
        Check::None => [0; 4],
        Check::Crc => framing.trailer(header, parts.iter().map(|part| &part[..])),
    };
    let trailer = &trailer[..framing.overhead() - header.len()];
    let lengths = Lengths { message, frame: message + framing.overhead() };
    if lengths.frame <= JOINED {
        join(&header, parts, trailer, room);
        write(&mut [IoSlice::new(room)], lengths)
    } else if parts.len() <= MAX_GATHERED {
        let mut pieces = [IoSlice::new(&[]); MAX_GATHERED + 2];
        pieces[0] = IoSlice::new(&header);
        pieces[1..=parts.len()].copy_from_slice(parts);
        pieces[parts.len() + 1] = IoSlice::new(trailer);
        let count = parts.len() + 1 + usize::from(!trailer.is_empty());
        write(&mut pieces[..count], lengths)
    } else {
        // More parts than fit on the stack, perhaps more than IOV_MAX: one copy instead, whose room is not kept.
        let mut joined = Vec::with_capacity(lengths.frame);
        join(&header, parts, trailer, &mut joined);
        write(&mut [IoSlice::new(&joined)], lengths)
    }
}

#[inline]
fn join(header: &[u8], parts: &[IoSlice<'_>], trailer: &[u8], frame: &mut Vec<u8>) {
    frame.clear();
    frame.extend_from_slice(header);
    parts.iter().for_each(|part| frame.extend_from_slice(part));
    frame.extend_from_slice(trailer);
}

#[cfg(not(loom))]
#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that `write` is given, and in how many pieces.
    fn written(parts: &[IoSlice<'_>], check: Check) -> (Vec<u8>, usize) {
        let framing = Framing { max_message: 1 << 20, check };
        let (mut room, mut found) = (room(), (Vec::new(), 0));
        let kept = room.capacity();
        with_frame(framing, parts, &mut room, |pieces, lengths| {
            pieces.iter().for_each(|piece| found.0.extend_from_slice(piece));
            found.1 = pieces.len();
            assert_eq!(found.0.len(), lengths.frame);
            Ok(())
        })
        .unwrap();
        assert_eq!(room.capacity(), kept, "the room has grown");
        found
    }

    #[test]
    fn a_frame_is_the_same_in_one_piece_and_in_several() {
        for (len, pieces) in [(0, 1), (1, 1), (JOINED - 8, 1), (JOINED, 0), (100_000, 0)] {
            let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
            for check in [Check::None, Check::Crc] {
                let whole = written(&[IoSlice::new(&bytes)], check);
                let expected = if pieces == 1 { 1 } else { 2 + usize::from(check == Check::Crc) };
                assert_eq!(whole.1, expected, "{len} bytes");
                for count in [2, MAX_GATHERED, MAX_GATHERED + 1] {
                    let parts: Vec<IoSlice<'_>> =
                        bytes.chunks(len.div_ceil(count).max(1)).map(IoSlice::new).collect();
                    assert!(written(&parts, check).0 == whole.0, "{len} bytes in {count} parts");
                }
            }
        }
    }

    #[test]
    fn what_is_too_long_is_refused_before_anything_is_written() {
        let framing = Framing { max_message: 3, check: Check::None };
        let refused =
            with_frame(framing, &[IoSlice::new(b"four")], &mut room(), |_, _| panic!("it was written"));
        assert!(matches!(refused, Err(SendError::TooLong { len: 4, max: 3 })), "{refused:?}");
    }
}
