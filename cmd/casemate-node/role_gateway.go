package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"casemate/cmd/casemate-node/gateway"
)

func init() { roles["gateway"] = runGateway }

func runGateway() error {
	log.SetFlags(0) // init adds time and name
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return gateway.Run(ctx, gateway.Defaults, func(addr net.Addr) error {
		log.Printf("listening on %s", addr)
		return notifyReady()
	})
}

// notifyReady tells init that this service serves. Without NOTIFY_FD nobody
// wants to know, as when a service is tried by hand.
func notifyReady() error {
	value, ok := os.LookupEnv("NOTIFY_FD")
	if !ok {
		return nil
	}
	_ = os.Unsetenv("NOTIFY_FD")
	fd, err := strconv.Atoi(value)
	if err != nil || fd < 3 {
		return fmt.Errorf("NOTIFY_FD=%q: want the number of a descriptor", value)
	}
	pipe := os.NewFile(uintptr(fd), "notify pipe")
	if _, err := pipe.WriteString("ready\n"); err != nil {
		_ = pipe.Close()
		return err
	}
	return pipe.Close()
}
