package api

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"time"

	"github.com/coder/websocket"
	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// streams are the operations that end when either side wants.
var streams = map[string]bool{"get-node-logs": true, "console-vm": true}

const (
	pingEvery   = 30 * time.Second // a client that vanished frees its console
	consoleRead = 64 << 10         // largest message from a client, in bytes
)

type logsInput struct {
	Follow bool `query:"follow" doc:"Go on with what comes, until the client closes."`
}

func registerStreams(a huma.API, m Manager) {
	huma.Register(a, huma.Operation{
		OperationID: "get-node-logs", Method: http.MethodGet, Path: "/v1/node/logs", Tags: []string{"node"},
		Summary:     "The node's log",
		Description: "Lines such as `2026-11-21T23:00:00.000Z vmhostd: text`, oldest first, as far back as the node has them.",
		Responses:   map[string]*huma.Response{"200": {Description: "The log.", Content: map[string]*huma.MediaType{"text/plain": {}}}},
	}, func(_ context.Context, in *logsInput) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(ctx huma.Context) {
			r, w := humago.Unwrap(ctx)
			serveLogs(w, r, m, in.Follow)
		}}, nil
	})
	huma.Register(a, huma.Operation{
		OperationID: "console-vm", Method: http.MethodGet, Path: "/v1/vms/{name}/console", Tags: []string{"vm"},
		Summary:     "A VM's serial console",
		Description: "A WebSocket with binary messages: bytes from and to the guest's first serial port, beginning with what the node still has of the past.",
		Responses:   map[string]*huma.Response{"101": {Description: "The console, as a WebSocket."}},
	}, func(ctx context.Context, in *named) (*huma.StreamResponse, error) {
		console, err := m.Console(ctx, in.Name)
		if err != nil {
			return nil, problemOf(err)
		}
		return &huma.StreamResponse{Body: func(ctx huma.Context) {
			r, w := humago.Unwrap(ctx)
			serveConsole(w, r, console)
		}}, nil
	})
}

func serveLogs(w http.ResponseWriter, r *http.Request, m Manager, follow bool) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	out := &flushWriter{w: w, flush: http.NewResponseController(w).Flush}
	if follow {
		_ = out.flush() // the client learns at once that it follows
		out.begun = true
	}
	err := m.Logs(r.Context(), out, follow)
	switch {
	case err == nil || r.Context().Err() != nil:
	case out.begun:
		log.Printf("api: log stream ended early: %v", err)
		panic(http.ErrAbortHandler) // the client must not take it for the whole log
	default:
		p := problemOf(err)
		WriteProblem(w, p.GetStatus(), p.Error())
	}
}

// flushWriter sends each write on at once.
type flushWriter struct {
	w     io.Writer
	flush func() error
	begun bool
}

func (f *flushWriter) Write(b []byte) (int, error) {
	f.begun = true
	n, err := f.w.Write(b)
	if err == nil {
		err = f.flush()
	}
	return n, err
}

// serveConsole copies both ways until either side ends. Accept refuses pages of
// another origin, since a browser would send the user's certificate for them.
func serveConsole(w http.ResponseWriter, r *http.Request, console io.ReadWriteCloser) {
	defer console.Close()
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = ws.CloseNow() }()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	ws.SetReadLimit(consoleRead)
	conn := websocket.NetConn(ctx, ws, websocket.MessageBinary)

	done := make(chan error, 3)
	go func() { _, err := io.Copy(conn, console); done <- err }()
	go func() { _, err := io.Copy(console, conn); done <- err }()
	go func() { done <- keepAlive(ctx, ws) }()
	err = <-done
	if err == nil || errors.Is(err, io.EOF) {
		_ = ws.Close(websocket.StatusNormalClosure, "console closed")
	}
}

// keepAlive pings until a ping has no answer.
func keepAlive(ctx context.Context, ws *websocket.Conn) error {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			pong, cancel := context.WithTimeout(ctx, pingEvery)
			err := ws.Ping(pong)
			cancel()
			if err != nil {
				return err
			}
		}
	}
}
