package contexts

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"time"

	"casemate/vmhost/api"
)

// DefaultPort is the API's.
const DefaultPort = 8443

const dialTimeout = 10 * time.Second

var hostName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// split gives host and host:port of Address.
func (c Context) split() (host, hostPort string, err error) {
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil { // no port, then, or nonsense
		host, port = c.Address, strconv.Itoa(DefaultPort)
		if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
			host = host[1 : n-1]
		}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	named := hostName.MatchString(host)
	if err != nil || n == 0 || !named && net.ParseIP(host) == nil {
		return "", "", fmt.Errorf("address %q: want HOST or HOST:PORT", c.Address)
	}
	return host, net.JoinHostPort(host, port), nil
}

func (c Context) tlsConfig() (*tls.Config, error) {
	ca, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("context %s: authority: %w", c.Name, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("context %s: authority: %s: no certificate in it", c.Name, c.CA)
	}
	cert, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
	if err != nil {
		return nil, fmt.Errorf("context %s: client certificate: %w", c.Name, err)
	}
	host, _, err := c.split()
	if err != nil {
		return nil, err
	}
	if c.ServerName != "" {
		host = c.ServerName
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    roots,
		ServerName: host,
		// Certificates would send nothing to a node with another authority, and the
		// node's answer would be about a missing certificate, which misleads.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
	}, nil
}

// Client gives a client for the context's node. It speaks HTTP/1: with HTTP/2
// net/http hides why a node refused a certificate.
func (c Context) Client() (*api.Client, error) {
	config, err := c.tlsConfig()
	if err != nil {
		return nil, err
	}
	_, address, err := c.split()
	if err != nil {
		return nil, err
	}
	return api.NewClient("https://"+address, &http.Client{Transport: &http.Transport{
		TLSClientConfig:     config,
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		Proxy:               http.ProxyFromEnvironment,
	}}), nil
}
