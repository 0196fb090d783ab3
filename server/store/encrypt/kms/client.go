package kms

import (
	"context"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	kmsapi "k8s.io/kms/apis/v2"
	kmsutil "k8s.io/kms/pkg/util"
)

// retryAfter is how long a connection that failed is not tried again, at most.
const retryAfter = 3 * time.Second

// dial makes a client of a plugin's socket. It connects when it is asked for the first time.
func dial(endpoint string) (*grpc.ClientConn, kmsapi.KeyManagementServiceClient, error) {
	path, err := kmsutil.ParseEndpoint(endpoint)
	if err != nil {
		return nil, nil, err
	}
	conn, err := grpc.NewClient("passthrough:///"+path,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // a unix socket: the file's mode is what guards it
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}),
		grpc.WithAuthority("localhost"),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: retryAfter}, MinConnectTimeout: retryAfter}),
	)
	if err != nil {
		return nil, nil, fmt.Errorf("kms endpoint %s: %w", endpoint, err)
	}
	return conn, kmsapi.NewKeyManagementServiceClient(conn), nil
}
