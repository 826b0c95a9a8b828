package spec

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// What is accepted must survive being written and read again, in both forms,
// as it was accepted and with its defaults.
func FuzzParseVM(f *testing.F) {
	f.Add([]byte(fullVM))
	f.Add([]byte(`{"name":"a","memory":1,"disks":[{"volume":"local/a.iso"}]}`))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := ParseVM(data)
		if err != nil {
			return
		}
		roundTrip(t, doc, ParseVM)
		doc.SetDefaults()
		if doc.Validate() != nil {
			return
		}
		roundTrip(t, doc, ParseVM)
		again := doc
		again.SetDefaults()
		if diff := cmp.Diff(doc, again); diff != "" {
			t.Errorf("SetDefaults twice (-once +twice):\n%s", diff)
		}
	})
}

func FuzzParseNode(f *testing.F) {
	f.Add([]byte("name: n\nnetwork: {bridges: [{name: lan, uplink: none}]}\nmedia: [{name: a, url: 'http://h/a', sha256: x}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := ParseNode(data)
		if err != nil {
			return
		}
		roundTrip(t, doc, ParseNode)
		doc.SetDefaults()
		if doc.Validate() == nil {
			roundTrip(t, doc, ParseNode)
		}
	})
}

func FuzzParseVolume(f *testing.F) {
	f.Add("nfs://filer:2050/a/b/c.qcow2")
	f.Add("nfs://[fd00::1]/a/b")
	f.Add("local/x.iso")
	f.Fuzz(func(t *testing.T, name string) {
		v, err := ParseVolume(name)
		if err != nil {
			return
		}
		again, err := ParseVolume(v.String())
		if err != nil || again.String() != v.String() {
			t.Errorf("ParseVolume(%q) = %v, but ParseVolume(%q) = %v, %v", name, v, v.String(), again, err)
		}
	})
}

func roundTrip[T any](t *testing.T, doc T, parse func([]byte) (T, error)) {
	t.Helper()
	for form, marshal := range map[string]func(any) ([]byte, error){
		"JSON": json.Marshal,
		"YAML": func(v any) ([]byte, error) { return yaml.Marshal(v) },
	} {
		out, err := marshal(doc)
		if err != nil {
			t.Fatalf("%s of %+v: %v", form, doc, err)
		}
		if len(out) > MaxVMDocument {
			continue // escapes can make the document longer than what is read
		}
		again, err := parse(out)
		if err != nil {
			t.Fatalf("parse %s %q: %v", form, out, err)
		}
		if diff := cmp.Diff(doc, again); diff != "" {
			t.Errorf("%s round trip of %q (-first +again):\n%s", form, out, diff)
		}
	}
}
