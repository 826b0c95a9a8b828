package boot

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"casemate/vmhost/spec"
)

// writeIdentity writes the gateway's ca.crt, tls.crt and tls.key into dir, for
// group gid to read, and gives the SHA-256 of the server certificate's DER form
// in hex. A configuration without a certificate gets a self-signed one; one
// without CA an empty ca.crt, by which nobody is let in.
func writeIdentity(doc spec.Node, addr net.IP, dir string, gid int) (fingerprint string, err error) {
	cert, key := []byte(doc.API.Certificate), []byte(doc.API.Key)
	if len(cert) == 0 && len(key) == 0 {
		if cert, key, err = selfSigned(doc.Name, addr, time.Now()); err != nil {
			return "", fmt.Errorf("make a certificate for the API: %w", err)
		}
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return "", fmt.Errorf("api.certificate and api.key: %w", err)
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{"ca.crt", []byte(doc.API.CA)}, {"tls.crt", cert}, {"tls.key", key}} {
		if err := writeGroup(filepath.Join(dir, f.name), f.data, gid); err != nil {
			return "", err
		}
	}
	sum := sha256.Sum256(pair.Certificate[0])
	return hex.EncodeToString(sum[:]), nil
}

// writeGroup writes a file that root may write and group gid read.
func writeGroup(path string, data []byte, gid int) error {
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return err
	}
	if err := os.Chown(path, -1, gid); err != nil {
		return err
	}
	return os.Chmod(path, 0o640)
}

// selfSigned makes a server certificate. It begins a day before now, and is
// good for long: clocks of machines that boot from the network are often wrong,
// and whoever trusts it pins its fingerprint.
func selfSigned(name string, addr net.IP, now time.Time) (cert, key []byte, err error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name, Organization: []string{"casemate, self-signed"}},
		NotBefore:    now.Add(-24 * time.Hour), NotAfter: now.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{name},
	}
	if addr != nil {
		template.IPAddresses = []net.IP{addr}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &priv.PublicKey, priv)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

// writeNodeInfo writes what vmhostd needs to know into file path.
func writeNodeInfo(info spec.NodeInfo, path string) error {
	info.Config.API = spec.API{} // the keys are the gateway's alone
	b, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}
