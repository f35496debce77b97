//! The shape of a violation: what is wrong in words, without whom it met. Seeds that break the same invariant in the same
//! shape most likely show the same bug.

use super::Violation;

impl Violation {
    /// Its detail with every name, key and number taken out.
    pub fn shape(&self) -> String {
        shape(&self.detail)
    }
}

/// A text with every word that has a digit or a slash in it, so numbers, clients and keys, replaced by `#`.
pub fn shape(text: &str) -> String {
    let of_word = |c: char| c.is_alphanumeric() || "/_-+.\\".contains(c);
    let mut shape = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = match rest.find(|c| of_word(c) != of_word(first)) {
            Some(end) => end,
            None => rest.len(),
        };
        let (word, after) = rest.split_at(end);
        if of_word(first) && word.contains(|c: char| c.is_ascii_digit() || c == '/') {
            shape.push('#');
            // A full stop ends a sentence as often as it parts a number.
            shape.push_str(if word.ends_with('.') { "." } else { "" });
        } else {
            shape.push_str(word);
        }
        rest = after;
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_and_when_do_not_matter_and_what_does() {
        let one = shape("c1 holds jobs/a (token 17), and c4 believes it does, for 1.5 s.");
        assert_eq!(one, shape("c2 holds jobs/b (token 9), and c0 believes it does, for 22 s."));
        assert_eq!(one, "# holds # (token #), and # believes it does, for # s.");
        assert_ne!(one, shape("c1 holds jobs/a (token 17), and c4 was told of the loss, for 1.5 s."));
    }
}
