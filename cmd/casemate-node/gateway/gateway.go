// Package gateway is the node's front door: it ends TLS, tells who the client
// is by its certificate, and hands the request with that name and role to
// vmhostd's socket. It knows nothing of VMs, keeps no state, and can reach
// nothing but that socket: what parses bytes of strangers decides nothing else.
package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Bounds on what a stranger, and then a client, can hold.
const (
	handshakeTimeout = 10 * time.Second // TLS, and a request's headers
	idleTimeout      = 2 * time.Minute
	shutdownTimeout  = 5 * time.Second
	maxHeaderBytes   = 32 << 10
	maxConnections   = 512
	maxPerAddress    = 128 // NAT gives many clients one address
	maxStreams       = 64  // HTTP/2, per connection
	maxPerUser       = 64  // requests under way, over all connections
	maxPathLogged    = 256 // bytes
)

// Config says where things are.
type Config struct {
	Dir    string // has ca.crt, tls.crt and tls.key
	Socket string // vmhostd's
	Listen string // TCP address, such as :8443
}

// Defaults are the node's own.
var Defaults = Config{
	Dir:    "/run/casemate/gateway",
	Socket: "/run/casemate/vmhostd/api.sock",
	Listen: ":8443",
}

// Run serves until ctx ends, then lets requests finish for a short time. It
// calls ready with the address when it listens.
func Run(ctx context.Context, c Config, ready func(net.Addr) error) error {
	config, err := c.tls()
	if err != nil {
		return err
	}
	refused := newLimitedLog(log.Default(), time.Second, 20)
	srv := &http.Server{
		Handler:           newHandler(c.Socket, refused),
		TLSConfig:         config,
		ReadHeaderTimeout: handshakeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ErrorLog:          log.New(refused, "", 0), // net/http reports failed handshakes here
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- srv.ServeTLS(limit(l, maxConnections, maxPerAddress, refused), "", "") }()
	if err := ready(l.Addr()); err != nil {
		_ = srv.Close()
		return fmt.Errorf("report readiness: %w", err)
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		_ = srv.Close() // log followers and their like
	}
	return nil
}

// tls has the node's identity and the authority of its clients.
func (c Config) tls() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(c.Dir, "tls.crt"), filepath.Join(c.Dir, "tls.key"))
	if err != nil {
		return nil, fmt.Errorf("node's identity: %w", err)
	}
	// Never nil: crypto/tls would then ask the system's authorities.
	clients := x509.NewCertPool()
	path := filepath.Join(c.Dir, "ca.crt")
	switch authority, err := os.ReadFile(path); {
	case errors.Is(err, fs.ErrNotExist) || err == nil && len(authority) == 0:
		log.Printf("no client authority in %s: no client is let in; set api.ca in the node's configuration", path)
	case err != nil:
		return nil, fmt.Errorf("client authority: %w", err)
	case !clients.AppendCertsFromPEM(authority):
		return nil, fmt.Errorf("client authority: %s: no certificate in it", path)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    clients,
		// Each connection proves itself: a ticket would outlive what it stands for.
		SessionTicketsDisabled: true,
	}, nil
}
