package pki

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"casemate/vmhost/api"
	"casemate/vmhost/spec"
)

func parse(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "pki")
	if err := Init(dir, time.Now(), "node-1", []string{"10.0.2.15", "node-1.example.org"}); err != nil {
		t.Fatalf("Init: %v", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parse(t, filepath.Join(dir, "ca.crt")))
	node := parse(t, filepath.Join(dir, "node.crt"))
	for _, host := range []string{"node-1", "10.0.2.15", "node-1.example.org"} {
		if _, err := node.Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err != nil {
			t.Errorf("node.crt for %s: %v", host, err)
		}
	}
	if _, err := node.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err == nil {
		t.Error("node.crt passes as a client's certificate")
	}
	admin := parse(t, filepath.Join(dir, "admin.crt"))
	if _, err := admin.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("admin.crt as a client's: %v", err)
	}
	if ou := admin.Subject.OrganizationalUnit; admin.Subject.CommonName != "admin" || len(ou) != 1 || ou[0] != "admin" {
		t.Errorf("admin.crt is of %s; want CN=admin, OU=admin", admin.Subject)
	}
	for _, secret := range []string{"ca.key", "node.key", "admin.key", "casemate.yaml"} {
		if info, err := os.Stat(filepath.Join(dir, secret)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v; want 0600", secret, info.Mode(), err)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "casemate.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := spec.ParseNode(text)
	if err != nil || doc.Name != "node-1" || doc.Validate() != nil {
		t.Errorf("casemate.yaml is %+v, %v; want a valid document of node-1", doc, err)
	}
}

func TestInitOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "admin.key")
	if err := os.WriteFile(other, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Init(dir, time.Now(), "", nil); err == nil || !strings.Contains(err.Error(), "admin.key exists") {
		t.Errorf("Init over a file = %v; want a refusal that names it", err)
	}
	entries, _ := os.ReadDir(dir)
	if data, _ := os.ReadFile(other); string(data) != "mine" || len(entries) != 1 {
		t.Errorf("after a refused Init: %q in the file, %d files; want mine, 1", data, len(entries))
	}
	if err := Init(filepath.Join(dir, "x"), time.Now(), "Bad_Name", nil); err == nil || !strings.Contains(err.Error(), "name:") {
		t.Errorf("Init of Bad_Name = %v; want a refusal", err)
	}
}

func TestIssue(t *testing.T) {
	dir := t.TempDir()
	if err := Issue(dir, time.Now(), "eve", api.Viewer); err == nil || !strings.Contains(err.Error(), "pki init") {
		t.Errorf("Issue without an authority = %v; want the way out", err)
	}
	if err := Init(dir, time.Now(), "", nil); err != nil {
		t.Fatal(err)
	}
	if err := Issue(dir, time.Now(), "eve", api.Viewer); err != nil {
		t.Fatalf("Issue: %v", err)
	}
	if ou := parse(t, filepath.Join(dir, "eve.crt")).Subject.OrganizationalUnit; len(ou) != 1 || ou[0] != "viewer" {
		t.Errorf("eve.crt has OU %v; want viewer", ou)
	}
	for _, bad := range []struct {
		name string
		role api.Role
	}{{"eve", api.Admin}, {"ca", api.Viewer}, {"node", api.Viewer}, {"../x", api.Viewer}, {"", api.Viewer}, {"mallory", "root"}} {
		if err := Issue(dir, time.Now(), bad.name, bad.role); err == nil {
			t.Errorf("Issue(%q, %q) = nil; want a refusal", bad.name, bad.role)
		}
	}
}

func FuzzParseAuthority(f *testing.F) {
	ca, err := NewAuthority(time.Now())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ca.Certificate, ca.Key)
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		if a, err := ParseAuthority(Pair{cert, key}); err == nil && !a.cert.IsCA {
			t.Errorf("ParseAuthority took %s", a.cert.Subject)
		}
	})
}
