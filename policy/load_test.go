package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"
)

// fakePolicy is a header of version 33 and a body.
var fakePolicy = append([]byte("\x8c\xff\x7c\xf9\x08\x00\x00\x00SE Linux\x21\x00\x00\x00"), "body"...)

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file, target := filepath.Join(dir, "policy.33"), filepath.Join(dir, "load")
	for name, b := range map[string][]byte{file: fakePolicy, target: nil} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	version, digest, err := load(file, dir)
	if err != nil {
		t.Fatalf("load(%q) = %v; want success", file, err)
	}
	sum := sha256.Sum256(fakePolicy)
	if want := "sha256:" + hex.EncodeToString(sum[:]); version != 33 || digest != want {
		t.Errorf("load(%q) = %d, %q; want 33, %q", file, version, digest, want)
	}
	if got, _ := os.ReadFile(target); string(got) != string(fakePolicy) {
		t.Errorf("load(%q) wrote %q; want the whole file", file, got)
	}
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage")
	good := filepath.Join(dir, "good")
	for name, b := range map[string][]byte{garbage: []byte("not a policy"), good: fakePolicy} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ name, path, selinuxfs string }{
		{"no policy", filepath.Join(dir, "none"), dir},
		{"garbage", garbage, dir},
		{"no selinuxfs", good, filepath.Join(dir, "none")},
	} {
		if _, _, err := load(tt.path, tt.selinuxfs); err == nil {
			t.Errorf("%s: load(%q, %q) succeeded; want an error", tt.name, tt.path, tt.selinuxfs)
		}
	}
}

func TestEnforcing(t *testing.T) {
	for _, tt := range []struct {
		content string
		want    bool
		ok      bool
	}{{"1", true, true}, {"0", false, true}, {"1\n", true, true}, {"", false, false}, {"yes", false, false}} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "enforce"), []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := enforcing(dir)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("enforcing with %q = %v, %v; want %v, ok %v", tt.content, got, err, tt.want, tt.ok)
		}
	}
	if _, err := enforcing(t.TempDir()); err == nil {
		t.Error("enforcing without selinuxfs succeeded; want an error")
	}
}

func FuzzVersion(f *testing.F) {
	f.Add(fakePolicy)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := headerVersion(b); err == nil && len(b) < 20 {
			t.Errorf("headerVersion(%q) = %d of a short header; want an error", b, v)
		}
	})
}
