package server

import (
	"context"
	"net"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"codeberg.org/skiff/skiff/server/api"
)

// publishClusterInfo tells in kube-public/cluster-info where the cluster is and by which authority it is known; the controller
// bootstrapsigner signs it with the bootstrap tokens.
func (s *Server) publishClusterInfo(ctx context.Context) error {
	config := clientcmdapi.NewConfig()
	config.Clusters[""] = &clientcmdapi.Cluster{
		Server: "https://" + net.JoinHostPort(s.advertised().String(), strconv.Itoa(s.cfg.Port)), CertificateAuthorityData: s.ca.PEM(),
	}
	text, err := clientcmd.Write(*config)
	if err != nil {
		return err
	}
	const key = "kubeconfig"
	info := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespacePublic, Name: "cluster-info"}, Data: map[string]string{key: string(text)}}
	return s.replace(ctx, info, func(have api.Object) bool { return have.(*corev1.ConfigMap).Data[key] == string(text) })
}
