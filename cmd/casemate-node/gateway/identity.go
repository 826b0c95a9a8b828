package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"casemate/vmhost/api"
)

// identity is who a verified certificate stands for.
type identity struct {
	user string
	role api.Role
}

// identify reads user and role. crypto/tls has checked the chain when the
// connection began; the time is checked again, as connections live long.
func identify(state *tls.ConnectionState, now time.Time) (identity, error) {
	if state == nil || len(state.VerifiedChains) == 0 || len(state.PeerCertificates) == 0 {
		return identity{}, errors.New("no verified client certificate")
	}
	return identityOf(state.PeerCertificates[0], now)
}

func identityOf(cert *x509.Certificate, now time.Time) (identity, error) {
	if now.After(cert.NotAfter) {
		return identity{}, fmt.Errorf("the client certificate expired at %s", cert.NotAfter.UTC().Format(time.RFC3339))
	}
	// Without any extended usage crypto/x509 takes a certificate for everything.
	if !slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		return identity{}, errors.New("the certificate is not one for clients (extended key usage clientAuth)")
	}
	user := cert.Subject.CommonName
	if user == "" || len(user) > 64 || strings.ContainsFunc(user, func(r rune) bool { return r < ' ' || r > '~' }) {
		return identity{}, errors.New("the client certificate's common name is not 1 to 64 printable ASCII characters")
	}
	units := cert.Subject.OrganizationalUnit
	if len(units) != 1 {
		return identity{}, fmt.Errorf("the client certificate has %d organizational units; want one, which is the role", len(units))
	}
	role, ok := api.ParseRole(units[0])
	if !ok {
		return identity{}, fmt.Errorf("the client certificate's organizational unit %q is no role; known ones are %s, %s and %s",
			units[0], api.Viewer, api.Operator, api.Admin)
	}
	return identity{user, role}, nil
}
