package qmp

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"unicode"
)

// FuzzParse holds what the rest relies on: a message is of one kind, has what
// its kind needs, and nothing unprintable reaches a log.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		greetingLine, eventLine,
		`{"return": {}, "id": "cm-1"}`, `{"return": null, "id": "x"}`,
		`{"error": {"class": "GenericError", "desc": "a\nb"}, "id": "x"}`,
		`{"error": null, "id": "x"}`, `{"id": {"a": 1}, "return": 1}`, `{"EVENT": "x"}`,
		strings.Repeat("[", 20000), `{"QMP": 1}`, "\xff",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := parse(line)
		if err != nil {
			if strings.ContainsFunc(err.Error(), unicode.IsControl) {
				t.Errorf("parse(%q) = %q; want no control characters", line, err)
			}
			return
		}
		switch m.kind {
		case kindGreeting, kindEvent:
		case kindReply:
			if m.id == "" || (m.ret == nil) == (m.err == nil) {
				t.Errorf("parse(%q) = reply with id %q, return %q, error %v", line, m.id, m.ret, m.err)
			}
			if m.err != nil && strings.ContainsFunc(m.err.Error(), unicode.IsControl) {
				t.Errorf("parse(%q) = %q; want no control characters", line, m.err)
			}
		default:
			t.Errorf("parse(%q) = kind %d", line, m.kind)
		}
	})
}

// FuzzLines compares the reader, fed in small pieces, to bytes.Split.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\r\n\r\n \nb\n"))
	f.Add([]byte("tail without end"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var want [][]byte
		parts := bytes.Split(data, []byte("\n"))
		for _, p := range parts[:len(parts)-1] {
			if p = bytes.TrimSpace(p); len(p) > 0 {
				want = append(want, p)
			}
		}
		lines := newLineReader(io.MultiReader(bytes.NewReader(data[:len(data)/2]), bytes.NewReader(data[len(data)/2:])))
		for i := 0; ; i++ {
			got, err := lines.next()
			if err != nil {
				if i != len(want) {
					t.Errorf("%d lines of %q, then %v; want %d", i, data, err, len(want))
				}
				return
			}
			if i >= len(want) || !bytes.Equal(got, want[i]) {
				t.Fatalf("line %d of %q = %q", i, data, got)
			}
		}
	})
}
