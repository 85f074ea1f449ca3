//! How deep an answer may be nested, before anything decodes it.
//!
//! The decoder stops at 128 levels, with an error for the whole text: one object that somebody nests deeper, in free-form
//! values or in the record of who owns which of them, would make its page of a list and its watch unreadable, and with
//! them every other object (contract §29.54). So what lies deeper is cut out of the bytes here, below kube's own decoders
//! as well as ours, and [`TOO_DEEP`] stands in its place: neighbours arrive untouched, and of the object itself everything
//! that tells which one it is. Whoever believes what may be cut looks for it: `policy::instance` does.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::cluster_api::TOO_DEEP;

/// Levels that are kept, the outermost counted as one. serde_json's recursion limit is 128, which lets 127 through; an item
/// of a list begins at level 3 and the object of a watch event at level 2. What is kept is also safe to clone, compare and
/// drop on a worker's stack, all of which recurse.
pub(super) const LEVELS: usize = 125;

/// A body without what lies too deep.
pub(super) struct Shallow<B> {
    body: Pin<Box<B>>,
    cutter: Cutter,
    /// What was asked for, for the log.
    of: String,
}

impl<B> Shallow<B> {
    /// The answer to a request of the path `of`: one text, or a text on each line.
    pub(super) fn new(body: B, of: &str, lines: bool) -> Self {
        Self { body: Box::pin(body), cutter: Cutter { lines, ..Cutter::default() }, of: of.into() }
    }
}

impl<B: HttpBody<Data = Bytes>> HttpBody for Shallow<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = std::task::ready!(self.body.as_mut().poll_frame(cx));
        let frame = frame.map(|frame| frame.map(|frame| frame.map_data(|piece| self.cutter.piece(&piece))));
        if std::mem::take(&mut self.cutter.cut) {
            tracing::warn!(path = %self.of, "an answer is {TOO_DEEP}: what lies deeper is not read");
        }
        Poll::Ready(frame)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Reads JSON as it arrives and says what of it is kept.
#[derive(Debug, Default)]
struct Cutter {
    /// Whether each line is a text of its own.
    lines: bool,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// Something was cut since this was last looked at.
    cut: bool,
}

impl Cutter {
    /// The piece without what lies too deep; the same bytes if nothing does.
    fn piece(&mut self, piece: &Bytes) -> Bytes {
        let mut kept: Option<Vec<u8>> = None;
        // Where the part begins that is kept and not copied yet.
        let mut from = (self.depth <= LEVELS).then_some(0);
        for (at, byte) in piece.iter().enumerate() {
            match byte {
                // No string reaches over a line: what a broken one left open ends here.
                b'\n' if self.lines => {
                    (self.depth, self.in_string, self.escaped) = (0, false, false);
                    from = from.or(Some(at));
                }
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = self.in_string,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => {
                    self.depth += 1;
                    if self.depth == LEVELS + 1 {
                        let kept = kept.get_or_insert_default();
                        kept.extend_from_slice(&piece[from.take().unwrap_or(at)..at]);
                        kept.extend_from_slice(format!("\"{TOO_DEEP}\"").as_bytes());
                        self.cut = true;
                    }
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == LEVELS {
                        from = Some(at + 1);
                    }
                }
                _ => {}
            }
        }
        if kept.is_none() && from == Some(0) {
            return piece.clone();
        }
        let mut kept = kept.unwrap_or_default();
        kept.extend_from_slice(from.map_or(&[][..], |from| &piece[from..]));
        kept.into()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full, StreamBody};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// `levels` objects in each other, each beside a string that looks like structure.
    fn nested(levels: usize) -> String {
        let open = r#"{"s":"}]\"{[\\","a":"#;
        format!("{}1{}", open.repeat(levels), "}".repeat(levels))
    }

    fn cut(lines: bool, pieces: &[&[u8]]) -> (String, bool) {
        let mut cutter = Cutter { lines, ..Cutter::default() };
        let kept = pieces.iter().flat_map(|piece| cutter.piece(&Bytes::copy_from_slice(piece)).to_vec()).collect();
        (String::from_utf8(kept).expect("text"), cutter.cut)
    }

    #[test]
    fn what_the_decoder_reads_is_kept_and_what_it_does_not_read_is_cut() {
        let text = nested(LEVELS);
        assert_eq!(cut(false, &[text.as_bytes()]), (text, false));
        for levels in [LEVELS + 1, 127, 128, 200, 10_000] {
            let (text, was_cut) = cut(false, &[nested(levels).as_bytes()]);
            let mut value: &Value = &serde_json::from_str(&text).expect("readable");
            let mut depth = 0;
            while value.is_object() {
                (value, depth) = (&value["a"], depth + 1);
            }
            assert_eq!((value.as_str(), depth, was_cut), (Some(TOO_DEEP), LEVELS, true), "{levels}");
        }
        const { assert!(LEVELS + 2 < 128, "an item of a list and an event of a watch are below their envelope") };
    }

    #[test]
    fn neighbours_and_what_stands_around_are_untouched() {
        let deep = |name: &str| format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{},"z":[7]}}"#, nested(10_000));
        let list = format!(r#"{{"items":[{{"n":1}},{},{{"n":{{"x":[2]}}}},{}]}}"#, deep("a"), deep("b"));
        let read: Value = serde_json::from_str(&cut(false, &[list.as_bytes()]).0).expect("a list");
        assert_eq!(read["items"][0], json!({"n": 1}));
        assert_eq!(read["items"][2], json!({"n": {"x": [2]}}));
        assert_eq!(
            (&read["items"][1]["metadata"]["name"], &read["items"][3]["metadata"]["name"]),
            (&json!("a"), &json!("b"))
        );
        assert_eq!(read["items"][3]["z"], json!([7]));
    }

    #[test]
    fn a_broken_line_does_not_spoil_the_next() {
        let lines = format!("{}\n{}\n{{\"open\":\"\n{}\n", nested(3), "[".repeat(300), nested(5));
        let (kept, _) = cut(true, &[lines.as_bytes()]);
        let kept: Vec<&str> = kept.lines().collect();
        assert_eq!((kept[0], kept[3], kept.len()), (nested(3).as_str(), nested(5).as_str(), 4));
        let pretty = nested(200).replace(':', ":\n");
        assert!(cut(false, &[pretty.as_bytes()]).1, "a text of several lines is one text");
    }

    #[tokio::test]
    async fn a_body_is_cut_frame_by_frame() {
        let text = nested(300);
        let frames = text
            .as_bytes()
            .chunks(7)
            .map(|piece| Ok::<_, std::convert::Infallible>(Frame::data(Bytes::copy_from_slice(piece))));
        let body = StreamBody::new(futures::stream::iter(frames.collect::<Vec<_>>()));
        let pieces = Shallow::new(body, "/x", true).collect().await.expect("a body").to_bytes();
        let whole = Shallow::new(Full::new(Bytes::from(text)), "/x", false).collect().await.expect("a body").to_bytes();
        assert_eq!(pieces, whole);
        assert!(whole.len() < 300 * 20);
    }

    proptest! {
        /// Where the pieces are cut apart makes no difference, whatever the bytes are.
        #[test]
        fn pieces_make_no_difference(text in r#"([{}\[\]"\\n\na]{0,40}|\[{120,130}[\]"a\\]{0,9}){0,3}"#, at in any::<prop::sample::Index>(), lines: bool) {
            let at = at.index(text.len() + 1);
            prop_assert_eq!(cut(lines, &[&text.as_bytes()[..at], &text.as_bytes()[at..]]), cut(lines, &[text.as_bytes()]));
        }
    }
}
