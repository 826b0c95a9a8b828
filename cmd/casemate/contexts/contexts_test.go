package contexts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"casemate/cmd/casemate/pki"

	"github.com/google/go-cmp/cmp"
)

func TestAddUseRemove(t *testing.T) {
	dir := t.TempDir()
	if err := pki.Init(dir, time.Now(), "", nil); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "etc", "config.yaml")
	f, err := Load(path)
	if err != nil {
		t.Fatalf("Load of a file that does not exist: %v", err)
	}
	if _, err := f.Get(""); err == nil || !strings.Contains(err.Error(), "casemate context add") {
		t.Errorf("Get from an empty file = %v; want the way out", err)
	}
	lab := Context{Name: "lab", Address: "127.0.0.1:18443", ServerName: "casemate",
		CA: filepath.Join(dir, "ca.crt"), Certificate: filepath.Join(dir, "admin.crt"), Key: filepath.Join(dir, "admin.key")}
	second := lab
	second.Name, second.Address = "second", "node.example.org"
	for _, c := range []Context{lab, second, second} {
		if err := f.Add(c); err != nil {
			t.Fatalf("Add(%s): %v", c.Name, err)
		}
	}
	if err := f.Save(path); err != nil {
		t.Fatalf("Save: %v", err)
	}
	again, err := Load(path)
	if diff := cmp.Diff(f, again); err != nil || diff != "" {
		t.Errorf("Load after Save: %v (-saved +loaded):\n%s", err, diff)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("file has mode %v; want 0600", info.Mode())
	}
	if c, err := again.Get(""); err != nil || c != lab {
		t.Errorf("Get(current) = %+v, %v; want the first one added", c, err)
	}
	if err := again.Use("second"); err != nil {
		t.Error(err)
	}
	if c, err := again.Get(""); err != nil || c != second {
		t.Errorf("Get(current) after Use = %+v, %v; want second", c, err)
	}
	if err := again.Remove("second"); err != nil {
		t.Error(err)
	}
	if _, err := again.Get(""); err == nil || !strings.Contains(err.Error(), "casemate context use") {
		t.Errorf("Get(current) after its removal = %v; want the way out", err)
	}
	for _, err := range []error{again.Use("none"), again.Remove("none")} {
		if err == nil || !strings.Contains(err.Error(), `no context "none"`) {
			t.Errorf("an unknown context gave %v", err)
		}
	}
	bad := lab
	bad.Key = filepath.Join(dir, "ca.key")
	if err := again.Add(bad); err == nil || !strings.Contains(err.Error(), "private key does not match") {
		t.Errorf("Add with another's key = %v; want a refusal", err)
	}
}

func TestPathsBeginAtTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte("contexts: [{name: a, address: h, ca: ca.crt, certificate: /abs/a.crt, key: sub/a.key}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := Context{Name: "a", Address: "h", CA: filepath.Join(filepath.Dir(path), "ca.crt"),
		Certificate: "/abs/a.crt", Key: filepath.Join(filepath.Dir(path), "sub/a.key")}
	if f.Contexts[0] != want {
		t.Errorf("Load = %+v; want %+v", f.Contexts[0], want)
	}
}

func TestParseRefuses(t *testing.T) {
	const ok = "address: h, ca: a, certificate: b, key: c"
	for _, c := range []struct{ in, want string }{
		{"colour: red", "colour: unknown field"},
		{"contexts: [{name: a, " + ok + "}, {name: a, " + ok + "}]", "there twice"},
		{"contexts: [{name: a b, " + ok + "}]", "name \"a b\""},
		{"contexts: [{name: a, address: 'h:0', ca: a, certificate: b, key: c}]", "address"},
		{"contexts: [{name: a, address: 'https://h', ca: a, certificate: b, key: c}]", "address"},
		{"contexts: [{name: a, address: h, certificate: b, key: c}]", "no ca"},
	} {
		if _, err := parse([]byte(c.in)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("parse(%q) = %v; want %q", c.in, err, c.want)
		}
	}
}

func TestSplit(t *testing.T) {
	for address, want := range map[string]string{
		"node": "node:8443", "node:1": "node:1", "10.0.0.1": "10.0.0.1:8443",
		"fd00::1": "[fd00::1]:8443", "[fd00::1]": "[fd00::1]:8443", "[fd00::1]:99": "[fd00::1]:99",
		"": "", ":8443": "", "a b": "", "a:b": "", "a/b": "", "a:70000": "",
	} {
		_, got, err := Context{Address: address}.split()
		if got != want || (err == nil) != (want != "") {
			t.Errorf("split(%q) = %q, %v; want %q", address, got, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("current: a\ncontexts: [{name: a, address: h, ca: a, certificate: b, key: c}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := parse(data)
		if err != nil {
			return
		}
		for _, c := range file.Contexts {
			if got, err := file.Get(c.Name); err != nil || got != c {
				t.Errorf("Get(%q) = %+v, %v", c.Name, got, err)
			}
		}
	})
}
