package boot

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"casemate/vmhost/spec"
)

func TestSelfSigned(t *testing.T) {
	dir := t.TempDir()
	addr := net.IPv4(10, 0, 2, 15)
	fingerprint, err := writeIdentity(spec.Node{Name: "n1"}, addr, dir, os.Getgid())
	if err != nil {
		t.Fatalf("writeIdentity = %v", err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		t.Fatalf("load the pair: %v", err)
	}
	if sum := sha256.Sum256(pair.Certificate[0]); fingerprint != hex.EncodeToString(sum[:]) {
		t.Errorf("fingerprint = %s; want %x", fingerprint, sum)
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"n1", addr.String()} {
		if err := cert.VerifyHostname(name); err != nil {
			t.Errorf("certificate for %s: %v", name, err)
		}
	}
	if now := time.Now(); now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		t.Errorf("certificate from %v to %v; want it valid now", cert.NotBefore, cert.NotAfter)
	}
	if ca, err := os.ReadFile(filepath.Join(dir, "ca.crt")); err != nil || len(ca) != 0 {
		t.Errorf("ca.crt = %q, %v; want it empty", ca, err)
	}
	for _, name := range []string{"ca.crt", "tls.crt", "tls.key"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("%s: mode %v, %v; want 0640", name, info.Mode(), err)
		}
	}
}

func TestConfiguredIdentity(t *testing.T) {
	cert, key, err := selfSigned("given", nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	doc := spec.Node{Name: "n1", API: spec.API{CA: "the CA", Certificate: string(cert), Key: string(key)}}
	fingerprint, err := writeIdentity(doc, nil, dir, os.Getgid())
	if err != nil {
		t.Fatalf("writeIdentity = %v", err)
	}
	block, _ := pem.Decode(cert)
	if sum := sha256.Sum256(block.Bytes); fingerprint != hex.EncodeToString(sum[:]) {
		t.Errorf("fingerprint = %s; want that of the given certificate", fingerprint)
	}
	for name, want := range map[string]string{"ca.crt": "the CA", "tls.crt": string(cert), "tls.key": string(key)} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s = %q, %v; want what the configuration has", name, got, err)
		}
	}
	_, other, err := selfSigned("other", nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	doc.API.Key = string(other)
	if _, err := writeIdentity(doc, nil, dir, os.Getgid()); err == nil || !strings.Contains(err.Error(), "api.key") {
		t.Errorf("writeIdentity with another's key = %v; want an error that names api.key", err)
	}
}

// The keys must not get to vmhostd.
func TestNodeInfoHasNoKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.json")
	want := spec.NodeInfo{Name: "n1", Kernel: "6.12", Policy: spec.PolicyInfo{Version: 33, Digest: "sha256:ab"}}
	want.Config = spec.Node{Name: "n1", API: spec.API{CA: "ca", Certificate: "cert", Key: "secret"}, NFS: spec.NFS{UID: 7}}
	if err := writeNodeInfo(want, path); err != nil {
		t.Fatalf("writeNodeInfo = %v", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got spec.NodeInfo
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "secret") || got.Config.API != (spec.API{}) {
		t.Errorf("node.json = %s; want no keys in it", b)
	}
	if got.Name != "n1" || got.Policy != want.Policy || got.Config.NFS.UID != 7 {
		t.Errorf("node.json = %+v; want %+v without keys", got, want)
	}
}
