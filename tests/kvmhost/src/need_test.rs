use super::*;

#[test]
fn extensions_are_whole_words_of_the_flags_line() {
    assert!(has_extensions("processor\t: 0\nflags\t\t: fpu vme svm sse\n"));
    assert!(has_extensions("flags : vmx"));
    assert!(!has_extensions("flags\t\t: fpu vmx_like nosvm\n"));
    assert!(!has_extensions("vmx flags\t: ept vpid vmx\nmodel name : svm\n"));
    assert!(!has_extensions(""));
}
