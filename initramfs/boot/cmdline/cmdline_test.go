package cmdline

import (
	"maps"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Params
	}{
		{"", Params{}},
		{"quiet\n", Params{"quiet": ""}},
		{"console=tty0 console=ttyS0,115200", Params{"console": "ttyS0,115200"}},
		{`casemate.config="http://h/a b" x`, Params{"casemate.config": "http://h/a b", "x": ""}},
		{`"casemate.config=http://h/a b"`, Params{"casemate.config": "http://h/a b"}},
		{"casemate.config=http://h/?a=b", Params{"casemate.config": "http://h/?a=b"}},
		{"a=1 -- b=2", Params{"a": "1"}},
	} {
		if got := Parse(tt.in); !maps.Equal(got, tt.want) {
			t.Errorf("Parse(%q) = %v; want %v", tt.in, got, tt.want)
		}
	}
}

func TestBool(t *testing.T) {
	for in, want := range map[string]bool{
		"casemate.permissive=1": true, "casemate.permissive": true,
		"casemate.permissive=0": false, "casemate.permissive=yes": false, "": false,
		"xcasemate.permissive=1": false, "-- casemate.permissive=1": false,
		"casemate.permissive=1 casemate.permissive=0": false,
	} {
		if got := Parse(in).Bool("casemate.permissive"); got != want {
			t.Errorf("Parse(%q).Bool = %v; want %v", in, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`a=1 "b c"=2 d="e f" -- g`)
	f.Add(`"`)
	f.Fuzz(func(t *testing.T, s string) {
		for name, value := range Parse(s) {
			if strings.Contains(name, "=") && !strings.Contains(s, `"`) {
				t.Errorf("Parse(%q): name %q contains =", s, name)
			}
			if !strings.Contains(s, `"`) && !strings.Contains(s, value) {
				t.Errorf("Parse(%q): value %q is not in it", s, value)
			}
		}
	})
}
