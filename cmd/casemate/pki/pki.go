// Package pki makes the small public-key infrastructure that the API's mutual
// TLS needs: an authority, a node's certificate, and client certificates whose
// OU is a role. It is a folder of files and no service: there is no revocation
// but a new authority, which a node gets with its next boot.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"regexp"
	"time"

	"casemate/vmhost/api"
)

// Lifetimes. Certificates begin an hour early, since a node without a battery
// for its clock asks the time only after it has the network.
const (
	authorityYears   = 10
	certificateYears = 2
	early            = time.Hour
)

// Pair is a certificate and its key, both in PEM.
type Pair struct {
	Certificate, Key []byte
}

// Authority signs. It is read back from its Pair.
type Authority struct {
	Pair
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var clientName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$`)

// NewAuthority makes a self-signed authority as of now.
func NewAuthority(now time.Time) (*Authority, error) {
	tmpl, err := template(now, authorityYears, pkix.Name{CommonName: "casemate authority"})
	if err != nil {
		return nil, err
	}
	tmpl.IsCA, tmpl.MaxPathLenZero = true, true
	tmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	pair, err := sign(tmpl, nil)
	if err != nil {
		return nil, err
	}
	return ParseAuthority(pair)
}

// ParseAuthority reads an authority that NewAuthority made.
func ParseAuthority(pair Pair) (*Authority, error) {
	certBlock, _ := pem.Decode(pair.Certificate)
	keyBlock, _ := pem.Decode(pair.Key)
	if certBlock == nil || certBlock.Type != "CERTIFICATE" || keyBlock == nil || keyBlock.Type != "PRIVATE KEY" {
		return nil, errors.New("authority: want a CERTIFICATE and a PRIVATE KEY in PEM")
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("authority's certificate: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("authority's key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("authority: the key is not that of the certificate")
	}
	if !cert.IsCA {
		return nil, fmt.Errorf("authority: %s is not an authority's certificate", cert.Subject)
	}
	return &Authority{pair, cert, key}, nil
}

// Node makes a server certificate for the names and addresses in hosts.
func (a *Authority) Node(now time.Time, name string, hosts []string) (Pair, error) {
	tmpl, err := template(now, certificateYears, pkix.Name{CommonName: name})
	if err != nil {
		return Pair{}, err
	}
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, h := range append([]string{name}, hosts...) {
		if ip := net.ParseIP(h); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	return sign(tmpl, a)
}

// Client makes a client certificate: the name is its CN, the role its OU.
func (a *Authority) Client(now time.Time, name string, role api.Role) (Pair, error) {
	if !clientName.MatchString(name) {
		return Pair{}, fmt.Errorf("client name %q: want 1 to 63 letters, digits and ._@-", name)
	}
	if _, ok := api.ParseRole(string(role)); !ok {
		return Pair{}, fmt.Errorf("role %q is not one of %s, %s, %s", role, api.Viewer, api.Operator, api.Admin)
	}
	tmpl, err := template(now, certificateYears, pkix.Name{CommonName: name, OrganizationalUnit: []string{string(role)}})
	if err != nil {
		return Pair{}, err
	}
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return sign(tmpl, a)
}

func template(now time.Time, years int, subject pkix.Name) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               subject,
		NotBefore:             now.Add(-early),
		NotAfter:              now.AddDate(years, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}, nil
}

// sign makes a key and has by, or the key itself if by is nil, sign for it.
func sign(tmpl *x509.Certificate, by *Authority) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	parent, signer := tmpl, key
	if by != nil {
		parent, signer = by.cert, by.key
		if parent.NotAfter.Before(tmpl.NotAfter) {
			tmpl.NotAfter = parent.NotAfter
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		return Pair{}, fmt.Errorf("sign certificate of %s: %w", tmpl.Subject, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}
