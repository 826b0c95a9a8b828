package spec

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
)

// selfSigned makes a certificate and key in PEM.
func selfSigned(t *testing.T, isCA bool) (certificate, key string) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "t"}, IsCA: isCA, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, priv.Public(), priv)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

func TestValidateAPI(t *testing.T) {
	ca, caKey := selfSigned(t, true)
	cert, key := selfSigned(t, false)
	for _, c := range []struct {
		api  API
		want string
	}{
		{API{}, ""},
		{API{CA: ca, Certificate: cert, Key: key}, ""},
		{API{CA: ca + "\n" + ca}, ""},
		{API{CA: "hello"}, "api.ca: no PEM block"},
		{API{CA: ca + "hello"}, "api.ca: something that is not PEM after block 1"},
		{API{CA: caKey}, "api.ca: PEM block 1 is a PRIVATE KEY"},
		{API{CA: cert}, "api.ca: certificate 1 (CN=t) is not an authority's"},
		{API{CA: strings.Replace(ca, "M", "N", 1)}, "api.ca: "},
		{API{Certificate: cert}, "api.key: missing"},
		{API{Key: key}, "api.certificate: missing"},
		{API{Certificate: cert, Key: caKey}, "api.certificate: with api.key: tls: private key does not match"},
		{API{Certificate: "x", Key: key}, "api.certificate: "},
	} {
		n := Node{API: c.api}
		n.SetDefaults()
		err := n.Validate()
		switch {
		case c.want == "" && err != nil:
			t.Errorf("Validate(%+v) = %v; want nil", c.api, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("Validate(%.60s) = %v; want %q in it", c.api, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "PRIVATE KEY-----") {
			t.Errorf("Validate quotes the key: %v", err)
		}
	}
}

func FuzzCheckCA(f *testing.F) {
	f.Add("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")
	f.Fuzz(func(t *testing.T, text string) {
		if checkCA(text) == nil && !strings.Contains(text, "BEGIN CERTIFICATE") {
			t.Errorf("checkCA(%q) = nil", text)
		}
	})
}
